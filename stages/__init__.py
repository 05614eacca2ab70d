"""The stages of dvc.yaml, one thin script each; `python -m stages` runs them all with overrides.

A stage imports the package of its own checkout: queued experiments run in a temporary copy, where an installed
imagetrail would silently be the workspace's code.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
