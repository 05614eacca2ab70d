"""Find the images that a table names, as different systems and tools write names."""

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from imagetrail import addresses
from imagetrail.download import labels, names
from imagetrail.errors import quoted


class Finder:
    """Turns what a table's cell says into the name of a file below the root."""

    def __init__(self, root: Path, folders: Sequence[str]) -> None:
        """Look below a root, in the folders that names may start from."""
        self._tree = names.Tree(root)
        self._folders = folders
        self._starts = folders
        self._own = f"{root.resolve().name}/"
        self.dropped = ""
        """The beginning of absolute names, which the image folder has on another machine."""
        self.addresses: dict[str, str] = {}
        """Addresses of images by the names that they get."""
        self._known: bool | None = None  # whether the images are given by address

    def enter(self, table: str) -> None:
        """Turn to a table: names may also start from its folder, and of train.csv and train/ one means the other."""
        split = labels.stated_split(table)
        same = [folder for folder in self._folders if split and labels.stated_split(f"{folder}/x") == split]
        folders = [*map(posixpath.normpath, same or self._folders), posixpath.dirname(table) or "."]
        self._starts = list(dict.fromkeys(folders))

    def find(self, image: str) -> tuple[str, str | None]:
        """Return (name from the root, why it cannot be used)."""
        remote = image.lower().startswith(("http://", "https://"))
        if self._known not in (None, remote):
            return image, f"{quoted(image)} is {'an address' if remote else 'a name'}, unlike the rows before; use one"
        self._known = remote
        if remote:
            return self._remote(image)
        name = image.replace("\\", "/")
        if name.startswith("/") or re.match(r"[A-Za-z]:/", name):
            name = self._without_beginning(name)
        if problem := names.problem(name):
            return name, problem
        located = self._locate(name)
        if located[1] is None and not self._exists(located[0]) and name.startswith(self._own):
            shorter = self._locate(name.removeprefix(self._own))
            return shorter if self._exists(shorter[0]) else located
        return located

    def _remote(self, address: str) -> tuple[str, str | None]:
        if problem := addresses.problem(address):
            return address, f"the image {problem}"
        name = re.sub(r"[^\w./%=&+-]", "_", address.partition("://")[2])
        name = posixpath.normpath("/".join(part for part in name.split("/") if part not in ("", ".", "..")))
        if self.addresses.setdefault(name, address) != address:
            return name, f"{quoted(address)} and {quoted(self.addresses[name])} differ too little to be told apart"
        return name, names.problem(name)

    def _without_beginning(self, name: str) -> str:
        """Drop what an absolute name begins with above the data; the first name that is found decides for all."""
        parts = name.split("/")
        ends = ["/".join(parts[count:]) for count in range(1, len(parts))]
        if not self.dropped:
            found = next((end for end in ends if not names.problem(end) and self._exists(self._locate(end)[0])), None)
            if found is None:
                return name
            self.dropped = name.removesuffix(found)
        return name.removeprefix(self.dropped)

    def _locate(self, image: str) -> tuple[str, str | None]:
        """Find the only folder that holds the image; the first folder if none does."""
        candidates = [self._tree.locate(posixpath.join(folder, image)) for folder in self._starts]
        if len(candidates) == 1:
            return candidates[0]
        present = list(dict.fromkeys(found for found in candidates if found[1] is None and self._exists(found[0])))
        if len(present) > 1:
            return image, f"{image!r} is both {present[0][0]!r} and {present[1][0]!r}; name its folder in the table"
        return (present or candidates)[0]

    def _exists(self, name: str) -> bool:
        return (self._tree.root / name).exists()
