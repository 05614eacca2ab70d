"""mnist-cnn and fashion-mlp against the usual ways to train them: `python -m bench peers`.

Each way is a program of its own that prints the images a second of its second epoch; they take turns. What the peers
need beside torch is installed by uv into .imagetrail/peers. The images are made up: their content costs nothing.

work.py        the network, the images and the clock that all share
classic.py     torchvision's transforms on PIL images, a DataLoader with workers, float32
with_lightning.py  the same, trained by Lightning
with_fastai.py  fastai's Learner with its batch transforms
with_keras.py   Keras on torch, with its augmentation layers
bare.py        the bare loop: batches are ready in memory; bfloat16 where ours has it, and fused
ours.py        imagetrail's loop

May import: nothing of each other but work.py.
"""

import statistics
import subprocess
import sys
from pathlib import Path

from bench.table import Row

HERE = Path(__file__).parent
ENVIRONMENT = Path(".imagetrail/peers")
PACKAGES = ("lightning==2.6.6", "fastai==2.8.12", "keras==3.15.1")
LOCAL = ("ours", "bare", "classic")
"""Ways that need no packages but ours."""
ROUNDS = 3
WORKERS = (0, 1, 2)
"""Workers of the DataLoader; the best number counts for classic."""
GOALS = {
    ("mnist-cnn", "classic"): 2.7, ("mnist-cnn", "lightning"): 1.0, ("mnist-cnn", "fastai"): 1.0,
    ("mnist-cnn", "keras"): 1.0, ("mnist-cnn", "bare"): 0.95, ("fashion-mlp", "classic"): 5.0,
}  # fmt: skip
"""How many times as fast ours must be."""


def measure() -> list[Row]:
    """Run all ways in turn."""
    python = _environment()
    rows = []
    for recipe in ("mnist-cnn", "fashion-mlp"):
        ways = ["ours", *(way for name, way in GOALS if name == recipe)]
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way in ways:
                counts = WORKERS if way == "classic" else (0,)
                rates[way].append(max(_rate(python, way, recipe, workers) for workers in counts))
        ours = statistics.median(rates["ours"])
        for way in ways[1:]:
            ratio, goal = ours / statistics.median(rates[way]), GOALS[recipe, way]
            measured = f"{_shown(rates['ours'])} images a second, {way} {_shown(rates[way])}: {ratio:.2f} times"
            rows.append(Row(f"{recipe} against {way}", measured, f"{goal:g} times", ratio >= goal))
            print(rows[-1], flush=True)
    return rows


def _shown(rates: list[float]) -> str:
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


def _rate(python: str, way: str, recipe: str, workers: int) -> float:
    interpreter, program = (sys.executable, way) if way in LOCAL else (python, f"with_{way}")
    command = [interpreter, str(HERE / f"{program}.py"), recipe, str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def _environment() -> str:
    """Install the peers with our versions of torch, torchvision and NumPy, and return their Python."""
    python = ENVIRONMENT / "bin/python"
    if not (ENVIRONMENT / "installed").is_file():
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)], check=True)
        found = subprocess.run([*uv, "pip", "freeze"], check=True, capture_output=True, text=True).stdout
        pinned = [line for line in found.splitlines() if line.startswith(("torch==", "torchvision==", "numpy=="))]
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", str(python), *pinned, *PACKAGES], check=True)
        (ENVIRONMENT / "installed").touch()
    return str(python)
