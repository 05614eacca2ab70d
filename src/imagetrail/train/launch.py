"""Start a training in the processes that machine.processes asks for: torchrun starts, watches and restarts them.

Several machines share a training by torchrun's own variables, the same command on each: PET_NNODES=2
PET_RDZV_BACKEND=c10d PET_RDZV_ENDPOINT=host:29400 dvc repro. Every machine then ends with the same files.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagetrail.console import warn
from imagetrail.errors import ImagetrailError, TrainingError
from imagetrail.model import arithmetic
from imagetrail.params.load import load_params

RESTARTS = 3
"""How often the processes are started again after one of them died."""
REFUSAL = "IMAGETRAIL_REFUSAL"
"""The file in which a process leaves the reason why a new start would not help."""


def run(main: Callable[[], None]) -> None:
    """Run the stage's `main` in this process, or in several.

    Raises:
        ImagetrailError: `main` raised it in a process, or processes died too often.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _work(main)
        return
    params = load_params(Path())
    arithmetic.settle(params.train.arithmetic)
    if params.machine.processes == 1 and "PET_NNODES" not in os.environ:
        main()
    else:
        os.environ.setdefault("OMP_NUM_THREADS", str(params.train.threads))  # torchrun would set, and warn of, 1
        _torchrun(params.machine.processes)


def _torchrun(processes: int) -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    arguments = [f"--nproc-per-node={processes}", f"--max-restarts={os.environ.get('PET_MAX_RESTARTS', RESTARTS)}"]
    if "PET_NNODES" not in os.environ:
        arguments.append("--standalone")
    with tempfile.TemporaryDirectory() as folder:
        reason = Path(folder) / "reason"
        os.environ[REFUSAL] = str(reason)
        try:
            torchrun(parse_args([*arguments, "--module", "stages.train"]))  # type: ignore[no-untyped-call]
        except SignalException as stopped:
            raise SystemExit(128 + stopped.sigval) from None
        except ChildFailedError as failed:
            if reason.is_file():
                raise TrainingError(reason.read_text(encoding="utf-8")) from None
            rank, failure = failed.get_first_failure()
            raise TrainingError(
                f"process {rank} of the training ended {RESTARTS + 1} times, last with exit code {failure.exitcode}; "
                "see its own message above. Run the command again to go on from the last checkpoint."
            ) from None


def _work(main: Callable[[], None]) -> None:
    """Run `main` in one of several processes; its mistakes are reported once, by the process that started torchrun."""
    reason = Path(os.environ[REFUSAL])
    if reason.exists():
        raise SystemExit(2)
    if (restarts := os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) != "0" and os.environ["LOCAL_RANK"] == "0":
        warn(f"a process of the training died; all go on from the last checkpoint (restart {restarts}).")
    try:
        main()
    except ImagetrailError as error:
        reason.write_text(str(error), encoding="utf-8")
        raise SystemExit(2) from None
