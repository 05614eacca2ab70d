"""Joules that the processor takes, from the counters of Linux (powercap), where the machine has and shows them."""

from pathlib import Path
from typing import Self

COUNTERS = Path("/sys/class/powercap")


class Meter:
    """Counts in its block; each counter may wrap around once."""

    joules: float | None = None
    """None without counters."""

    def __enter__(self) -> Self:
        """Start."""
        self._before = _readings()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and set `joules`."""
        now = _readings()
        if now:
            self.joules = sum((now[zone] - self._before[zone]) % _limit(zone) for zone in now) / 1e6


def _readings() -> dict[Path, int]:
    """Return the microjoules of each package of cores; its parts and the memory are left out."""
    found = {}
    for zone in COUNTERS.glob("*-rapl:[0-9]*"):
        try:
            if (zone / "name").read_text().startswith("package"):
                found[zone] = int((zone / "energy_uj").read_text())
        except (OSError, ValueError):  # they may be root's alone
            continue
    return found


def _limit(zone: Path) -> int:
    return int((zone / "max_energy_range_uj").read_text()) + 1
