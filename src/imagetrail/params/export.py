"""Section `export`: what `imagetrail export` asks of a file before it logs it."""

from typing import Annotated

from pydantic import Field

from imagetrail.params.section import Section


class Export(Section):
    """What is asked of a file that `imagetrail export` writes; no stage reads it."""

    agreement: Annotated[float, Field(ge=0, le=1)]
    """Least share of the test images for which the file has to answer with the model's label."""
