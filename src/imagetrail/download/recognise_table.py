"""Recognise tables of images: delimiter, header, the columns and their meaning, and how names become files."""

import csv
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from imagetrail.download import labels, series
from imagetrail.download.inventory import Inventory
from imagetrail.download.reading import Ask, Reading
from imagetrail.download.table import LINE_LIMIT, MARKS, Cells
from imagetrail.errors import DataError
from imagetrail.params.download import DELIMITERS

ROWS_READ = 1_000_000
"""Rows of a table that are looked at."""
FOUND = 0.5
"""Smallest share of a column's values that must be images, for the column of images."""
LABEL_NAMES = (
    "label", "labels", "class", "class_name", "classname", "category", "target", "species", "breed", "diagnosis", "dx",
    "kind", "type", "tag", "y", "class_id", "classid", "label_id",
)  # fmt: skip
"""Names of label columns; where several columns have one, the first."""
GROUP_NAMES = (
    "patient", "patient_id", "patientid", "subject", "subject_id", "person", "person_id", "lesion_id", "track",
    "session", "group", "participant", "individual", "case_id", "scan_id", "video", "video_id",
)  # fmt: skip
SUBMISSION = re.compile("submission", re.IGNORECASE)
"""Tables of guesses for a competition, which are shaped like those of labels."""


@dataclass
class ReadTable:
    """A table that names images."""

    name: str
    delimiter: str
    header: bool
    columns: list[str]
    """Names, or positions from 1 as text where there is no header."""
    values: list[list[str]]
    """Of each column."""
    image: int = 0
    """Position of the column of images."""
    found: float = 0.0
    """Share of its values that are images."""
    suffix: str = ""
    """Extension that its values lack."""
    folders: Counter[str] = field(default_factory=Counter)
    """Folders that its names start from, below the root; with a slash, or empty for the root itself."""

    def key(self, column: int) -> str | int:
        """Return how params.yaml names a column."""
        return self.columns[column] if self.header else column + 1


def recognise(inventory: Inventory, ask: Ask) -> Reading | None:
    """Say how to read the tables that name images; None if there are none."""
    tables = [table for name in inventory.tables if (table := _open(inventory, name)) is not None]
    named = [table for table in tables if table.found >= FOUND and not SUBMISSION.search(table.name)]
    if not named:
        return None
    odd = []
    labelled = [table for table in named if len(table.columns) > 1 and _label_candidates(table)]
    odd += [
        f"{table.name} names images, but has no column of labels: not used" for table in named if table not in labelled
    ]
    if not labelled:
        if len({image.rpartition("/")[0] for image in inventory.images}) > 1:
            return None  # class folders, and a list of what they hold
        raise DataError(f"{inventory.root / named[0].name} names images, but has no column of labels; add one.")
    tables = _alike(inventory, labelled, ask)
    odd += [f"{table.name} names images, too: not used" for table in labelled if table not in tables]
    first = tables[0]
    options: dict[str, object] = {"source": "csv", "table": _spelled(inventory, [table.name for table in tables])}
    count = sum(len(table.values[0]) for table in tables)
    reasons = {
        "source": f"{_counted(tables)} of {count:,} rows",
        "table": f"the names in {first.key(first.image)!r} are images",
    }
    if not first.header:
        options["header"] = False
        reasons["header"] = "the first line already names an image"
    options["image_column"] = first.key(first.image)
    reasons["image_column"] = f"{min(table.found for table in tables):.0%} of its values are images"
    _add_places(tables, options, reasons)
    label, why = _label(first, inventory, ask)
    options["label_column"], reasons["label_column"] = label, why
    used = {label} if isinstance(label, str | int) else set(label)
    for option, column, reason in (
        ("split_column", _split(tables, used), "its values are words for train, val and test"),
        ("group_column", _group(first, used), "its name and its repeated values are those of a group"),
    ):
        if column is not None:
            options[option], reasons[option] = column, reason
    if isinstance(label, str | int):
        _add_classes(inventory, tables, label, options, reasons)
        _add_series(tables, label, options, reasons)
    missing = sum(round((1 - table.found) * len(table.values[0])) for table in tables)
    if missing:
        odd.append(f"{missing} rows name images that are not there; preprocess.max_rejected must allow them")
    return Reading("a table", options, reasons, tuple(odd))


def preferred_label(columns: Sequence[str]) -> str | None:
    """Return the column whose name says that it holds labels, or None."""
    by_name = {column.lower().replace(" ", "_"): column for column in reversed(columns)}
    return next((by_name[name] for name in LABEL_NAMES if name in by_name), None)


# --- opening a table --------------------------------------------------------------------------------------------------


def _open(inventory: Inventory, name: str) -> ReadTable | None:
    """Read a file as a table, and find its column of images; None if it is not one."""
    try:
        with (inventory.root / name).open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.read(LINE_LIMIT))
            file.seek(0)
            lines = islice(csv.reader(file, Cells, delimiter=delimiter or ","), ROWS_READ)
            rows = [row for row in lines if row] if delimiter else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return None
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    rows = [[cell.strip() for cell in row] for row in rows if len(row) == width]
    if not rows or delimiter is None:
        return None
    finder = _Finder(inventory, posixpath.dirname(name))
    header = not any(finder.find(cell) for cell in rows[0]) and len(set(rows[0])) == width
    body = rows[1:] if header else rows
    columns = rows[0] if header else [str(number) for number in range(1, width + 1)]
    table = ReadTable(name, delimiter, header, columns, [list(column) for column in zip(*body, strict=True)])
    for position, values in enumerate(table.values):
        hits = [finder.find(value) for value in values]
        share = sum(hit is not None for hit in hits) / len(values) if values else 0
        if share > table.found:
            suffixes = Counter(hit[1] for hit in hits if hit)
            table.image, table.found, table.suffix = position, share, suffixes.most_common(1)[0][0]
            table.folders = _cover([hit[0] for hit in hits if hit], labels.stated_split(name))
    return table


def _delimiter(text: str) -> str | None:
    """Return the sign that cuts all of the first lines into the same number of cells, more than one."""
    lines = text.splitlines()[:20]
    best: tuple[int, str] | None = None
    for sign in DELIMITERS:
        try:
            widths = {len(row) for row in csv.reader(lines, Cells, delimiter=sign) if row}
        except csv.Error:
            continue
        if len(widths) == 1 and (width := widths.pop()) > 1 and (best is None or width > best[0]):
            best = width, sign
    return None if best is None else best[1]


class _Finder:
    """Finds the images that values mean, wherever they are below the root."""

    def __init__(self, inventory: Inventory, folder: str) -> None:
        self._inventory = inventory
        self._folder = f"{folder}/" if folder else ""
        self._own = f"{inventory.root.resolve().name}/"

    def find(self, value: str) -> tuple[list[str], str] | None:
        """Return (folders that the name may start from, the extension that it lacks); None if it is not one."""
        if value.lower().startswith(("http://", "https://")):
            return [""], ""
        name = value.replace("\\", "/").removeprefix("./")
        if not name or name.endswith("/"):
            return None
        is_absolute = name.startswith("/") or re.match("[A-Za-z]:/", name) is not None
        base = name.rpartition("/")[2]
        for found, suffix in ((self._inventory.by_name.get(base), ""), (self._inventory.by_stem.get(base), None)):
            ends = [image for image in found or () if suffix is None or image.endswith(base)]
            if is_absolute and ends:
                return [""], ""
            starts = [
                (image.removesuffix(name + extension), extension)
                for image in ends
                for extension in [Path(image).suffix if suffix is None else ""]
                if f"/{image}".endswith(f"/{name}{extension}")
            ]
            if starts:
                folders = [start for start, _ in starts]
                own = self._folder if self._folder in folders else None
                return ([own] if own is not None else folders), starts[0][1]
            if ends and name.startswith(self._own):
                return [""], ""
        return None


def _cover(found: Iterable[list[str]], split: str) -> Counter[str]:
    """Choose few folders that names start from, so that each name has one of them."""
    left = [starts for starts in found if starts]
    chosen: Counter[str] = Counter()
    while left:
        counts = Counter(start for starts in left for start in starts)
        most = max(counts.values())
        best = [start for start, count in counts.items() if count == most]
        same = [start for start in best if split and labels.stated_split(f"{start}x") == split]
        folder = min(same or best)
        chosen[folder] = most
        left = [starts for starts in left if folder not in starts]
    return chosen


# --- several tables ---------------------------------------------------------------------------------------------------


def _alike(inventory: Inventory, tables: list[ReadTable], ask: Ask) -> list[ReadTable]:
    """Choose the tables that are parts of one: of the same form, and a split or one for each folder."""
    by_form: dict[tuple[str, ...], list[ReadTable]] = {}
    for table in tables:
        by_form.setdefault((table.delimiter, str(table.header), *table.columns), []).append(table)
    choices = []
    for alike in by_form.values():
        is_split = len({labels.stated_split(table.name) for table in alike} - {""}) == len(alike)
        is_by_folder = len({posixpath.dirname(table.name) for table in alike}) == len(alike)
        choices += [alike] if len(alike) == 1 or is_split or is_by_folder else [[table] for table in alike]
    if len(choices) == 1:
        return choices[0]
    readings = [
        Reading(_counted(alike), {"source": "csv", "table": _spelled(inventory, [t.name for t in alike])}, {})
        for alike in choices
    ]
    chosen = ask(f"several tables in {inventory.root} name images", readings)
    return choices[readings.index(chosen)]


def _counted(tables: list[ReadTable]) -> str:
    return tables[0].name if len(tables) == 1 else f"{len(tables)} tables such as {tables[0].name}"


def _spelled(inventory: Inventory, names: list[str]) -> str | list[str]:
    """Write the names of tables as one, as a list, or as a pattern that fits these and no others."""
    if len(names) == 1:
        return names[0]
    depths = {name.count("/") for name in names}
    pattern = "/".join("*" for _ in range(depths.copy().pop())) + "/*" + Path(names[0]).suffix
    if len(names) > 3 and len(depths) == 1 and "/" in names[0]:
        fitting = [path.relative_to(inventory.root).as_posix() for path in inventory.root.glob(pattern)]
        if sorted(fitting) == sorted(names):
            return pattern
    return names


# --- the columns ------------------------------------------------------------------------------------------------------


def _add_places(tables: list[ReadTable], options: dict[str, object], reasons: dict[str, str]) -> None:
    """State the folders that names start from and the extension that they lack, if they do."""
    if suffix := tables[0].suffix:
        options["extension"] = suffix
        reasons["extension"] = "the names in the table have none"
    own = {f"{posixpath.dirname(table.name)}/" for table in tables if "/" in table.name}
    starts = sorted({start for table in tables for start in table.folders} - own)
    places = [start.rstrip("/") or "." for start in starts] or ["."]
    if places != ["."]:
        options["images"] = places[0] if len(places) == 1 else places
        reasons["images"] = "the images are there"


def _label(table: ReadTable, inventory: Inventory, ask: Ask) -> tuple[str | int | list[str | int], str]:
    """Choose the column of labels; or columns, if each class has one."""
    candidates = _label_candidates(table)
    assert candidates, "the table was chosen for them"
    names = [column for column in candidates if isinstance(column, str)]
    if (preferred := preferred_label(names)) is not None:
        return preferred, f"its name, and its {_distinct(table, preferred)} different values"
    if isinstance(candidates[0], list):
        return candidates[0], f"each row marks one of these {len(candidates[0])} columns with 1"
    if len(candidates) == 1:
        return candidates[0], f"the only column with repeated values, {_distinct(table, candidates[0])} different ones"
    readings = [Reading(f"the column {name!r}", {"label_column": name}, {}) for name in candidates]
    chosen = ask(f"several columns of {inventory.root / table.name} may hold the labels", readings)
    return candidates[readings.index(chosen)], "chosen"


def _label_candidates(table: ReadTable) -> list[str | int | list[str | int]]:
    """List the columns that may hold labels; a list of columns first, if each row marks one of them."""
    marked = [p for p, values in enumerate(table.values) if p != table.image and _is_marks(values)]
    one_hot: list[str | int | list[str | int]] = []
    if len(marked) > 1 and all(
        sum(MARKS[v.lower()] for v in row) == 1 for row in zip(*(table.values[p] for p in marked), strict=True)
    ):
        one_hot = [[table.key(position) for position in marked]]
    named = preferred_label(table.columns) if table.header else None
    single: list[str | int | list[str | int]] = []
    for position, values in enumerate(table.values):
        if position == table.image or (one_hot and position in marked) or _is_group_name(table.columns[position]):
            continue
        different = len(set(values) - {""})
        is_split = all(labels.split_of(value) for value in set(values))
        repeats = different > 1 and different <= max(2, len(values) // 2)
        if table.columns[position] == named or (repeats and not is_split and not _is_measured(values)):
            single.append(table.key(position))
    return one_hot + single


def _is_marks(values: list[str]) -> bool:
    return {value.lower() for value in values} <= MARKS.keys() and len(set(values)) > 1


def _is_measured(values: list[str]) -> bool:
    """Return whether values are numbers with fractions, which no class is called."""
    different = set(values) - {""}
    return any(re.fullmatch(r"-?\d+\.\d*[1-9]\d*", value) for value in different) and len(different) > 10


def _is_group_name(name: str) -> bool:
    return name.lower().replace(" ", "_") in GROUP_NAMES


def _distinct(table: ReadTable, column: str | int | list[str | int]) -> int:
    assert not isinstance(column, list)
    position = column - 1 if isinstance(column, int) else table.columns.index(column)
    return len(set(table.values[position]))


def _split(tables: list[ReadTable], used: set[str | int]) -> str | int | None:
    """Return the column that states the split."""
    first = tables[0]
    for position in range(len(first.columns)):
        values = {value for table in tables for value in table.values[position]}
        if first.key(position) not in used and values and all(labels.split_of(value) for value in values):
            return first.key(position)
    return None


def _group(table: ReadTable, used: set[str | int]) -> str | int | None:
    for position, name in enumerate(table.columns):
        values = table.values[position]
        if table.key(position) not in used and _is_group_name(name) and len(set(values)) < len(values):
            return table.key(position)
    return None


def _add_classes(
    inventory: Inventory, tables: list[ReadTable], label: str | int, options: dict[str, object], reasons: dict[str, str]
) -> None:
    """State the file that gives labels their class names, if there is one for all of them."""
    first = tables[0]
    position = label - 1 if isinstance(label, int) else first.columns.index(label)
    codes = {value for table in tables for value in table.values[position]} - {""}
    for name in [*inventory.json, *inventory.tables]:
        if name in {table.name for table in tables}:
            continue
        try:
            names = labels.read_classes(inventory.root / name)
        except DataError:
            continue
        if codes <= names.keys() and set(names.values()) != codes:
            options["classes"] = name
            reasons["classes"] = f"it names all {len(codes)} labels"
            return


def _add_series(tables: list[ReadTable], label: str | int, options: dict[str, object], reasons: dict[str, str]) -> None:
    """State the pattern of numbered series, if names are such and neither a split nor groups are stated."""
    if "group_column" in options or "split_column" in options or isinstance(options["table"], list):
        return
    first = tables[0]
    position = label - 1 if isinstance(label, int) else first.columns.index(label)
    sign = series.separator(
        (text, re.split(r"[/\\]", image)[-1] + table.suffix)
        for table in tables
        for text, image in zip(table.values[position], table.values[table.image], strict=True)
    )
    if sign is not None:
        options["pattern"] = f"**/{{group}}{sign}{{number}}.{{ext}}"
        reasons["pattern"] = series.REASON
