"""Section `machine`: settings that cannot change an output's bytes."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from imagetrail.params.section import NonEmpty, PowerOfTwo, Section


class Machine(Section):
    """Settings that cannot change an output's bytes; no stage lists them among its parameters."""

    jobs: Annotated[int, Field(ge=-1, le=1024)]
    """Workers that decode images; -1 means one per core."""
    backend: Literal["loky", "dask"]
    """loky runs them on this machine; dask on a cluster, which has its own number of workers."""
    scheduler: NonEmpty | None
    """dask: the scheduler's address, such as tcp://10.0.0.1:8786."""
    processes: PowerOfTwo
    """Processes of this machine that share a training, at most train.shards; torchrun starts them."""

    @model_validator(mode="after")
    def _some_worker(self) -> Self:
        if self.jobs == 0:
            raise ValueError("jobs = 0 decodes nothing; give a number of workers, or -1 for one a core")
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ValueError(
                f"backend = {self.backend!r} and scheduler = {self.scheduler!r}: dask needs a scheduler's address, and "
                "loky has none"
            )
        return self
