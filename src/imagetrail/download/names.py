"""Resolve image names to files: below the data folder, by exact name, with the same result on every system."""

import os
import posixpath
import re
import stat
import sys
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SURROGATE = re.compile("[\ud800-\udfff]")
"""The range of characters that Python substitutes for bytes that are not UTF-8."""
FORGIVING = sys.platform in ("win32", "darwin")
"""True if the file system usually ignores case."""


def is_hidden(part: str) -> bool:
    """Return whether a name is ignored: dotfiles, the files of `dvc add`, and what macOS adds to archives."""
    return part.startswith(".") or part.endswith(".dvc") or part == "__MACOSX"


def problem(name: str) -> str | None:
    """Explain why a text cannot be an image's name; None if it can."""
    if not name:
        return "the image name is empty; give one"
    if CONTROL.search(name):
        return f"the image name {name!r} holds a control character; rename the file"
    if "://" in name or name.lower().startswith("file:"):
        return f"{name!r} is an address; download the image and give its file name"
    if name.startswith("/") or re.match(r"[A-Za-z]:[/\\]", name) or ".." in re.split(r"[/\\]", name):
        return f"{name!r} is outside the data root; copy the image in and name it from there"
    if "\\" in name:
        return f"{name!r} has a backslash; write {name.replace(chr(92), '/')!r}"
    if SURROGATE.search(name):
        return f"{name!r} is not UTF-8; rename the file"
    return None


class Tree:
    """The files below a folder."""

    def __init__(self, root: Path) -> None:
        """Remember the folder that names start from."""
        self.root = root.resolve()
        self._prefix = f"{self.root}/"  # pathlib's own joining takes longer than the look at the file
        self._inside = lru_cache(1024)(self._leads_inside)
        self._entries = lru_cache(8)(_entries)

    def locate(self, name: str) -> tuple[str, str | None]:
        """Find the file that a name means.

        Code points for the same letters may differ (NFC, NFD). Any other difference is a mistake, even if the file
        system ignores it. A missing file is not a mistake here; `preprocess` reports all of them together.

        Args:
            name: one without a `problem`.

        Returns:
            (name from the root as it is on disk, why it cannot be used or None).
        """
        name = posixpath.normpath(name)
        mode = self._mode(name)
        if FORGIVING or mode is None:
            name, problem = self._alike(name)
            if problem is not None:
                return name, problem
            mode = self._mode(name)
        is_link = mode is not None and stat.S_ISLNK(mode)
        if not self._inside(posixpath.dirname(name)) or (is_link and not self._leads_inside(name)):
            return name, f"{name!r} is a link out of the data root; copy the image in"
        return name, None

    def _mode(self, name: str) -> int | None:
        try:
            return os.lstat(f"{self._prefix}{name}").st_mode
        except OSError:
            return None

    def _leads_inside(self, name: str) -> bool:
        try:
            return (self.root / name).resolve().is_relative_to(self.root)
        except (OSError, RuntimeError):  # a loop of links, which `preprocess` rejects as unreadable
            return True

    def _alike(self, name: str) -> tuple[str, str | None]:
        """Walk down by exact name, then by composed name; report where only the case differs."""
        folder = ""
        parts = name.split("/")
        for depth, part in enumerate(parts):
            entries = self._entries(self.root / folder)
            found = entries.get(unicodedata.normalize("NFC", part), [])
            if part not in found and len(found) != 1:
                other = next((names[0] for key, names in entries.items() if key.casefold() == part.casefold()), None)
                path = posixpath.join(folder, part)
                hint = other and f"{path!r} is missing, and {posixpath.join(folder, other)!r} is there; write that"
                return posixpath.join(folder, *parts[depth:]), hint
            folder = posixpath.join(folder, part if part in found else found[0])
        return folder, None


def _entries(folder: Path) -> Mapping[str, list[str]]:
    """Return the names in a folder by their composed form."""
    entries: dict[str, list[str]] = {}
    try:
        for entry in os.scandir(folder):
            entries.setdefault(unicodedata.normalize("NFC", entry.name), []).append(entry.name)
    except OSError:
        pass
    return entries
