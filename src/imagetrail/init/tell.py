"""Tell what was found and what is proposed."""

import json
from collections.abc import Sequence

from imagetrail.download.reading import Reading
from imagetrail.init.choose import Proposal
from imagetrail.init.look import Look
from imagetrail.init.tryout import Tried

CLASSES_TOLD = 8
WIDTH = 28
"""Columns of a parameter's name."""


def found(place: str, reading: Reading, look: Look) -> str:
    """Describe a data set."""
    counts = sorted(look.classes.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{name} {count:,}" for name, count in counts[:CLASSES_TOLD])
    more = f" and {len(counts) - CLASSES_TOLD} more" if len(counts) > CLASSES_TOLD else ""
    sides = ", ".join(f"{name} {count:,}" for name, count in sorted(look.splits.items()) if name)
    heights, widths = zip(*look.sizes, strict=True)
    same = len(set(look.sizes)) == 1
    size = f"{heights[0]} x {widths[0]} pixels" if same else (
        f"{look.size[0]} x {look.size[1]} pixels at the median, from {min(heights)} x {min(widths)} to "
        f"{max(heights)} x {max(widths)}"
    )  # fmt: skip
    formats = ", ".join(name for name, _ in look.formats.most_common() if name)
    depth = f", of more than 8 bits, from {look.extent[0]:,} to {look.extent[1]:,}" if look.extent else ""
    lines = [
        f"{place}: {reading.reasons['source']}",
        f"  {look.images:,} images of {len(counts)} classes: {shown}{more}",
        f"  split stated: {sides}" if sides else "  no split stated",
        *([f"  {look.groups:,} groups"] if look.groups else []),
        f"  {f'{formats}; ' if formats else ''}{size}; {'grey' if look.is_grey else 'colour'}{depth}",
    ]
    return "\n".join(lines)


def proposed(proposal: Proposal) -> str:
    """List the choices with their reasons, and what is odd."""
    lines = [f"  {choice.name:<{WIDTH}}{json_text(choice.value):<24}  {choice.reason}" for choice in proposal.choices]
    if proposal.odd:
        lines += ["", "Look at this:", *(f"  {sentence}." for sentence in proposal.odd)]
    return "\n".join(lines)


def tried(trials: Sequence[Tried]) -> str:
    """Tabulate trials."""
    lines = [f"  {trial.name:<{WIDTH}}{trial.accuracy:>8.4f}  {trial.seconds:>6.1f} s  {trial.parameters:>12,}"
             for trial in trials]  # fmt: skip
    header = f"  {'after an epoch':<{WIDTH}}{'val':>8}  {'time':>8}  {'parameters':>12}"
    return "\n".join([header, *lines])


def json_text(value: object) -> str:
    """Write a value in a line, as JSON; a class by its name."""
    if isinstance(value, dict) and "name" in value:
        rest = ", ".join(f"{key}={item}" for key, item in value.items() if key != "name" and item is not None)
        return f"{value['name']}({rest})"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(str(item["name"]) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def question(text: str, readings: Sequence[Reading]) -> str:
    """Write a question with its numbered answers."""
    ways = "\n".join(f"  {number}  {reading.text}" for number, reading in enumerate(readings, start=1))
    return f"{text[:1].upper()}{text[1:]}. Which?\n{ways}\n"
