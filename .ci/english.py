"""Find words of a manner that this project has left behind: `make check` runs this over every tracked text.

The component is the subject, and the verb is the field's: raises, logs, skips, resumes.
"""

import re
import subprocess
import sys
from pathlib import Path

WORDS = re.compile(
    r"\b(said|anew|stands?|lies|mends?|mended|mending|is no|are no|passed over|gone on with|one's own)\b", re.IGNORECASE
)
INSTEAD = "write reports, again, is, is in, fix, is not, skipped or resumed"
ALLOWED = re.compile(r"\b(is no longer|are no longer|stands? in for|standstill|there (is|are) no)\b", re.IGNORECASE)
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".ipynb", ""}
LEFT_OUT = ("LICENSE", ".ci/english.py", "docs/images/", ".dvc/")


def main() -> None:
    """Print each finding; exit with 1 where there is one."""
    tracked = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    found = 0
    for name in tracked:
        path = Path(name)
        if path.suffix not in SUFFIXES or name.startswith(LEFT_OUT) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            # Underscores become spaces, so that names of tests are read as sentences.
            for match in WORDS.finditer(ALLOWED.sub("", line.replace("_", " "))):
                found += 1
                print(f"{name}:{number}: {match[0]!r}; {INSTEAD}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
