"""Start a training in the processes that machine.processes asks for: torchrun starts, watches and restarts them.

Several machines share a training by torchrun's own variables, the same command on each: PET_NNODES=2
PET_RDZV_BACKEND=c10d PET_RDZV_ENDPOINT=host:29400 dvc repro. Every machine then ends with the same files.
"""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from imagetrail.console import warn
from imagetrail.errors import ImagetrailError, TrainingError
from imagetrail.model import arithmetic
from imagetrail.params.load import load_params

RESTARTS = "3"
"""How often the processes are started again after one of them died, unless torchrun's own variable says otherwise."""
REFUSAL = "IMAGETRAIL_REFUSAL"
"""The file in which a process leaves the reason why a new start would not help."""


def run(main: Callable[[], None]) -> None:
    """Run the stage's `main` in this process, or in several.

    Raises:
        ImagetrailError: `main` raised it in a process, or processes died too often.
    """
    if REFUSAL in os.environ:
        _work(main)
        return
    params = load_params(Path())
    arithmetic.settle(params.train.arithmetic)
    by_hand = "TORCHELASTIC_RUN_ID" in os.environ  # `torchrun -m stages.train`
    if by_hand or (params.machine.processes == 1 and "PET_NNODES" not in os.environ):
        main()
    else:
        os.environ.setdefault("OMP_NUM_THREADS", str(params.train.threads))  # torchrun would set, and warn of, 1
        _torchrun(params.machine.processes)


def _torchrun(processes: int) -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    os.environ.setdefault("PET_MAX_RESTARTS", RESTARTS)
    # Else all starts share a store, which keeps the addresses of processes that are gone. torch tells starts apart by a
    # number that only a machine whose own process died counts up.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    alone = [] if "PET_NNODES" in os.environ else ["--standalone"]
    given = parse_args([f"--nproc-per-node={processes}", *alone, "--module", "stages.train"])  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder:
        reason = Path(folder) / "reason"
        os.environ[REFUSAL] = str(reason)
        try:
            torchrun(given)  # type: ignore[no-untyped-call]
        except SignalException as stopped:
            if stopped.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + stopped.sigval) from None
        except ChildFailedError as failed:
            if reason.is_file():
                raise TrainingError(reason.read_text(encoding="utf-8")) from None
            rank, failure = failed.get_first_failure()
            raise TrainingError(
                f"process {rank} of the training ended with exit code {failure.exitcode}, after {given.max_restarts} "
                "restarts; see its own message above. Run the command again to go on from the last checkpoint."
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
