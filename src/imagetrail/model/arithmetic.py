"""Portable arithmetic: the environment in which torch computes the same bits on every x86-64 processor.

Torch, its libraries and the C library choose their kernels by the processor, and kernels round differently. The
variables below choose the oldest ones everywhere. They are read when a process starts, so a process that lacks them
starts itself again. What is proven, operation by operation: docs/portable.md. Imports no torch, which would read them.
"""

import os
import sys
from collections.abc import Callable

from imagetrail.errors import TrainingError

ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "default",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-FMA4,-FMA4_Usable,-AVX512F",
    "MKL_CBWR": "COMPATIBLE",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "1",
}
"""Of torch's own kernels, the C library's mathematics (its names before and since glibc 2.33), MKL, NumPy, oneDNN, and
NumPy's OpenBLAS."""


def is_portable() -> bool:
    """Return whether this process computes portably."""
    return all(os.environ.get(name) == value for name, value in ENVIRONMENT.items())


def environment(arithmetic: str) -> dict[str, str]:
    """Return the environment of a process that computes by train.arithmetic of params.yaml."""
    return os.environ | (ENVIRONMENT if arithmetic == "portable" else {})


def settle(arithmetic: str) -> None:
    """Start this process again, with the same id and arguments, if it lacks the environment of its arithmetic."""
    if arithmetic == "portable" and not is_portable():
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment(arithmetic))  # noqa: S606


def run(main: Callable[[], None], arithmetic: str) -> None:
    """Run `main`, which imports torch, in the environment of its arithmetic."""
    settle(arithmetic)
    main()


def require(arithmetic: str) -> None:
    """Check that this process has the environment of its arithmetic.

    Raises:
        TrainingError: it does not.
    """
    if arithmetic == "portable" and not is_portable():
        raise TrainingError(
            "train.arithmetic = 'portable' needs a process that starts with its environment, as `python -m "
            "stages.train` does; set it to native to train in this one."
        )
