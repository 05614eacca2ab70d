"""Turn pydantic's errors into sentences with the name, the value and the fix."""

import math
from collections.abc import Iterator

from pydantic import BaseModel

from imagetrail.errors import nearest, quoted


def all_sentences(whole: type[BaseModel], problems: list[dict[str, object]]) -> list[str]:
    """List a sentence for each mistake.

    Where a value may be of several types, pydantic reports what each of them lacks; the type that fits says the reason.
    """
    judged = {_name(whole, problem) for problem in problems if not str(problem["type"]).endswith("_type")}
    lines: list[str] = []
    for problem in problems:
        is_other_type = str(problem["type"]).endswith("_type") and _name(whole, problem) in judged
        lines += [] if is_other_type else sentences(whole, problem)
    return lines


def _name(whole: type[BaseModel], problem: dict[str, object]) -> str:
    location = [str(part) for part in problem["loc"] if isinstance(part, str)]  # type: ignore[attr-defined]
    return ".".join(_real_keys(whole, location))


def sentences(whole: type[BaseModel], problem: dict[str, object]) -> Iterator[str]:
    """Yield a sentence for each mistake; `problem` is one of pydantic's errors, `whole` the model of the file."""
    name, value, kind = _name(whole, problem), problem["input"], problem["type"]
    keys = name.split(".")
    context = problem.get("ctx", {})
    assert isinstance(context, dict)
    match kind:
        case "extra_forbidden":
            yield f"{name} = {quoted(value)} is not a parameter; {nearest(keys[-1], _siblings(whole, keys))}"
        case "missing":
            yield f"{name} is missing; recipes/default.yaml holds its default."
        case "value_error":
            for line in str(context["error"]).splitlines():
                yield f"{name}: {line}" if name else line
        case "literal_error":
            words = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            yield f"{name} = {quoted(value)} is not valid; {nearest(str(value), words)}"
        case "model_type":
            yield f"{name} = {quoted(value)} must be a mapping with the keys of {context['class_name']}"
        case "too_short":
            least = context["min_length"]
            empty = f"{name} = {quoted(value)} is empty; set it to null"
            yield empty if least == 1 else f"{name} = {quoted(value)} must have at least {least} items"
        case "string_too_long":
            yield f"{name} = {quoted(value)} is longer than {context['max_length']} characters; shorten it"
        case "finite_number":
            yield f"{name} = {quoted(value)} must be a finite number"
        case _:
            message = str(problem["msg"])
            expected = message.removeprefix("Input should be ").removeprefix("a valid ")
            yield f"{name} = {_shown(value)} must be {expected}"


def _shown(value: object) -> str:
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}"
    return quoted(value)


def _section(whole: type[BaseModel], keys: list[str]) -> type[BaseModel] | None:
    """Return the model of the mapping at `keys`."""
    model: type[BaseModel] = whole
    for key in keys:
        if key not in model.model_fields:
            return None
        annotation = model.model_fields[key].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [t for t in options if isinstance(t, type) and issubclass(t, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def _real_keys(whole: type[BaseModel], location: list[str]) -> list[str]:
    """Drop the type of a union that pydantic adds to the path; keep the file's own keys."""
    keys: list[str] = []
    for part in location:
        model = _section(whole, keys)
        if model is None or (part not in model.model_fields and part == "Schedule"):
            break
        keys.append(part)
    return keys


def _siblings(whole: type[BaseModel], keys: list[str]) -> list[str]:
    model = _section(whole, keys[:-1])
    return list(model.model_fields) if model else []
