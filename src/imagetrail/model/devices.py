"""Choose torch's device and keep its arithmetic repeatable."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils import deterministic as filling

from imagetrail.errors import TrainingError
from imagetrail.model import arithmetic

CPU = torch.device("cpu")


def choose(name: str) -> torch.device:
    """Return the device of a parameter: `cpu`, `cuda`, or `auto`, which is CUDA if available and not portable.

    Raises:
        TrainingError: CUDA is requested but not available.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device = 'cuda', but torch sees no CUDA device; set it to auto or cpu.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and not arithmetic.is_portable() else "cpu"
    if name == "cpu":
        return torch.device(name)
    return torch.device(name, int(os.environ.get("LOCAL_RANK", "0")))  # torchrun's, where processes share a machine


def describe(device: torch.device) -> str:
    """Describe the device by what affects the last bits: the GPU's name, or the CPU's and its instruction set."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_name() -> str:
    """Return the CPU's name from Linux, or elsewhere from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


@contextmanager
def repeatable(device: torch.device, threads: int) -> Iterator[None]:
    """Use deterministic algorithms, a fixed number of CPU threads and a private random state in the block.

    Equal inputs then give equal bits on the same machine. torch's global state is restored.
    """
    # cuBLAS reads this when it starts: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    earlier_threads = torch.get_num_threads()
    earlier_mode = torch.get_deterministic_debug_mode()
    earlier_fill = filling.fill_uninitialized_memory  # type: ignore[attr-defined]
    cudnn = torch.backends.cudnn
    try:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode("error")
        # That is for code which reads memory that nobody wrote; it costs an eighth of mnist-cnn's step.
        filling.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        with (
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
            cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32),
        ):
            yield
    finally:
        torch.set_num_threads(earlier_threads)
        torch.set_deterministic_debug_mode(earlier_mode)
        filling.fill_uninitialized_memory = earlier_fill  # type: ignore[attr-defined]
