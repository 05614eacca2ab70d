"""Define mappings that name a class of a library and give its arguments."""

from typing import Self

from pydantic import BaseModel, ConfigDict

from imagetrail.params import signatures


class Named(BaseModel):
    """A class of a library by its own name; the other keys are its arguments, and null means not passed."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, use_attribute_docstrings=True)

    name: str

    @property
    def arguments(self) -> dict[str, object]:
        """Return the keyword arguments for the class: all that are not null."""
        return {key: value for key, value in self if key != "name" and value is not None}

    def _check(self, family: signatures.Family) -> Self:
        if problems := family.problems(self.name, self.arguments):
            raise ValueError("\n".join(problems))
        return self
