"""Lists of templates as RELION writes them: STAR files of class averages and references, and `000003@stack.mrcs`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gempick.io.listing import resolve
from napari_gempick.io.reading import parsing
from napari_gempick.io.star import numbers, read_tables, write_tables
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_gempick.io.star import Table

_LABELS = ("rlnReferenceImage", "rlnImageName")
_SHARE, _GROUP = "rlnClassDistribution", "rlnOpticsGroup"
_IN_STACK = re.compile(r"\s*(\d+)@(.+)")


@dataclass(frozen=True)
class Template:
    """One row of a list.

    Attributes
    ----------
    path : Path
        The image file.
    section : int or None
        From 1; None: the file's only one.
    share : float or None
        rlnClassDistribution; None where it is unknown or cannot be a share.
    pixel_size : float or None
        Å, as the list has it.
    """

    path: Path
    section: int | None
    share: float | None = None
    pixel_size: float | None = None


def is_list(path: Path | str) -> bool:
    """Return whether a file is a list of templates, by its name."""
    return Path(path).suffix.lower() == ".star"


def split_at(text: str) -> tuple[str, int | None]:
    """Split `000003@stack.mrcs` into the file and the section from 1; None without one."""
    match = _IN_STACK.fullmatch(text)
    return (text, None) if match is None else (match[2], int(match[1]))


def read_list(star: Path) -> list[Template]:
    """Read a STAR file that lists templates.

    Parameters
    ----------
    star : Path
        A table with rlnReferenceImage (class_averages.star, run_it025_model.star) or rlnImageName. Relative names start
        at the current folder or else at the STAR file's folder or one of its parents.

    Raises
    ------
    InputError
        The file is unreadable or lists none.
    """
    with parsing(star, "a STAR file"):
        return _rows(star)


def _rows(star: Path) -> list[Template]:
    tables = read_tables(star)
    table, label = _images(star, tables)
    shares: list[float | None] = [None] * len(table[label])
    if _SHARE in table:
        shares = [share if 0 <= share <= 1 else None for share in numbers(table, _SHARE, star).tolist()]
    sizes = _pixel_sizes(star, tables, table, len(table[label]))
    folders = [Path(), *star.absolute().parents]
    rows = []
    for text, share, size in zip(table[label], shares, sizes, strict=True):
        name, section = split_at(text)
        rows.append(Template(resolve(name, folders), section, share, size))
    return rows


def copied_list(star: Path, names: Mapping[Path, str], target: Path) -> None:
    """Write a list again with other names for its files; errors as `read_list`."""
    tables = read_tables(star)
    table, label = _images(star, tables)
    folders = [Path(), *star.absolute().parents]
    renamed = []
    for text in table[label]:
        name, section = split_at(text)
        new = names[resolve(name, folders)]
        renamed.append(new if section is None else f"{section:06d}@{new}")
    table[label] = renamed
    write_tables(target, tables)


def _images(star: Path, tables: Mapping[str, Table]) -> tuple[Table, str]:
    for label in _LABELS:
        for table in tables.values():
            if table.get(label):
                return table, label
    raise InputError(f"{star} lists no templates (_{_LABELS[0]} or _{_LABELS[1]}); give another STAR file.", star)


def _pixel_sizes(star: Path, tables: Mapping[str, Table], table: Table, count: int) -> list[float | None]:
    """Return the pixel size of each row: of its optics group, or of the whole model."""
    optics = tables.get("optics", {})
    if "rlnImagePixelSize" in optics and _GROUP in optics and _GROUP in table:
        of_group = dict(zip(optics[_GROUP], numbers(optics, "rlnImagePixelSize", star).tolist(), strict=True))
        found = [of_group.get(group) for group in table[_GROUP]]
    else:
        model = next((one for one in tables.values() if len(one.get("rlnPixelSize", ())) == 1), None)
        found = [None if model is None else float(numbers(model, "rlnPixelSize", star)[0])] * count
    return [size if size is not None and math.isfinite(size) and size > 0 else None for size in found]
