"""STAR files as RELION writes and reads them: named tables of text columns, over gemmi's CIF parser.

RELION's dialect is a little wider than CIF, and its parser a little narrower: it writes names with letters beyond
ASCII and names such as ``data_run1/mic.mrc`` without quotes, and it cannot read multi-line text. Both are seen to here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from gemmi import cif

from napari_gempick.io.atomic import write_text
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Table = dict[str, list[str]]
"""Columns by label without the leading underscore; a block of pairs is a table of one row."""
Columns = Mapping[str, Sequence[str] | str]
"""What is written: a loop's columns, or the values of a list of pairs."""

_FLAGS = re.ASCII | re.IGNORECASE  # white space is ASCII's alone
_PLAIN = re.compile(r"""(?!data_|save_|(?:loop|stop|global)_$)(?=[^"'#$;_\[\]])[!-~]+""", _FLAGS)
_NEEDS_QUOTES = re.compile(r"[^\x00-\x7f]|(?<!\S)\$|(?:data|save)_[^\s/]*/", _FLAGS)
_TOKEN = re.compile(
    r"""(?<!\S)(?:'[^\n]*?'(?!\S)|"[^\n]*?"(?!\S)|\#[^\n]*"""
    r"""|(?P<odd>\$\S*|(?:data|save)_[^\s/]*/\S*|[^\s'"#]\S*?[^\x00-\x7f]\S*|[^\x00-\x7f\s]\S*))""",
    _FLAGS,
)


def read_tables(path: Path | str) -> dict[str, Table]:
    """Read every block of a STAR file.

    Parameters
    ----------
    path : Path or str
        UTF-8 text.

    Returns
    -------
    dict of Table
        By block name without ``data_``, in file order; an unnamed block is "".

    Raises
    ------
    InputError
        The file is missing, unreadable, not text, or not STAR; the line is named where it is known.
    """
    document = _parsed(read_text(path, "STAR"), path)
    return {block.name.strip(): _table(block) for block in document}


def read_table(path: Path | str, block: str | None = None, required: Iterable[str] = ()) -> Table:
    """Read one table of a STAR file.

    Parameters
    ----------
    path : Path or str
        The file.
    block : str, optional
        Its name without ``data_``; by default the first block that has the required columns.
    required : iterable of str
        Labels without the underscore, such as "rlnCoordinateX".

    Returns
    -------
    Table
        Every column of the block as text; a loop without rows gives empty lists.

    Raises
    ------
    InputError
        As `read_tables`; or the block or a required column is missing.
    """
    required = tuple(required)
    tables = read_tables(path)
    if block is not None and block not in tables:
        names = ", ".join(f"data_{name}" for name in tables) or "no block at all"
        raise InputError(f"{path} has no block data_{block} but {names}; give another file.", path)
    candidates = list(tables.values()) if block is None else [tables[block]]
    for table in candidates:
        if table.keys() >= set(required):
            return table
    missing = ", ".join(f"_{label}" for label in required if not any(label in table for table in candidates))
    raise InputError(f"{path} has no table with the column {missing or ', '.join(required)}; give another file.", path)


def write_tables(path: Path | str, tables: Mapping[str, Columns | Iterable[Columns]]) -> None:
    """Write a STAR file atomically; equal tables give equal bytes.

    Parameters
    ----------
    path : Path or str
        Its folder is made when missing.
    tables : mapping
        Block name (without ``data_``, "" for an unnamed block) to columns by label (without underscore). Columns are
        sequences of equal length and make a loop; where the first value is a plain str, the block is a list of pairs.
        A long loop may come in pieces, one or more, which all have the same labels.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    parts = []
    for name, content in tables.items():
        pieces = iter([content] if isinstance(content, Mapping) else content)
        first = next(pieces)
        pairs = any(isinstance(column, str) for column in first.values())
        parts.append(f"\ndata_{name}\n\n" + (_pairs(first) if pairs else _loop(first, pieces)))
    write_text(path, "".join(parts))


def quote(value: str) -> str:
    """Return a value as it must stand in a STAR file; RELION and CIF read the same from it.

    The quotes keep spaces, quotes and letters beyond ASCII. Line breaks need CIF text fields, which RELION cannot read.
    """
    if _PLAIN.fullmatch(value):
        return value
    if "\n" not in value and "\r" not in value:
        for mark in "\"'":
            if not re.search(mark + r"\s", value, re.ASCII):
                return f"{mark}{value}{mark}"
    return f"\n{cif.quote(value)}"  # a text field begins at the start of a line


def numbers(table: Table, label: str, path: Path | str) -> NDArray[np.float64]:
    """Return a column as (n,) float64.

    Raises
    ------
    InputError
        A value is not a number; its row is named, counted from 1.
    """
    return parse_numbers(table[label], f"_{label}", path)


def parse_numbers(values: Sequence[str], name: str, path: Path | str) -> NDArray[np.float64]:
    """Return text as (n,) float64; errors as `numbers`."""
    try:
        return np.array(values, dtype=np.float64)
    except ValueError as error:
        for row, value in enumerate(values, 1):
            try:
                float(value)
            except ValueError:
                raise InputError(
                    f"{path}: {name} in row {row} is {value!r}, which is not a number; mend that row.", path
                ) from error
        raise


def read_text(path: Path | str, kind: str) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises
    ------
    InputError
        The file is missing, unreadable, or not text; `kind` names what was expected.
    """
    try:
        with readable(path):
            return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file, so it is no {kind} file; give another file.", path) from error


def _parsed(text: str, path: Path | str) -> cif.Document:
    if _NEEDS_QUOTES.search(text):
        text = _TOKEN.sub(_quote_odd, text)
    try:
        return cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{path} is not a readable STAR file ({_complaint(error)}); write it again, or mend that place.", path
        ) from error


def _complaint(error: Exception) -> str:
    """Return "line 5: parse error" from gemmi's "string:5:0(26): parse error"."""
    found = re.fullmatch(r"string(?::(\d+))?[\d():]*\s*(.*)", str(error), re.DOTALL)
    line, what = found.groups() if found else (None, str(error))
    what = re.sub(
        r"^(in \S+: )?Wrong number of values in loop.*", "wrong number of values in the loop that begins there", what
    )
    return f"line {line}: {what}" if line else what


def _quote_odd(match: re.Match[str]) -> str:
    return quote(match["odd"]) if match["odd"] else match[0]


def _table(block: cif.Block) -> Table:
    table: Table = {}
    for item in block:
        if item.loop is not None:
            for tag in item.loop.tags:
                table[tag.removeprefix("_")] = list(_column(block.find_loop(tag)))
        elif item.pair is not None:
            table[item.pair[0].removeprefix("_")] = [_plain(item.pair[1])]
    return table


def _column(values: Iterable[str]) -> Iterator[str]:
    """Yield the values as they are meant; equal neighbours are one object, for long tables repeat themselves."""
    last = meant = ""
    for value in values:
        if value != last:
            last, meant = value, _plain(value)
        yield meant


def _plain(value: str) -> str:
    quoted = value[0] in "'\"" or (value[0] == ";" and "\n" in value)
    return str(cif.as_string(value)) if quoted else value


def _pairs(columns: Columns) -> str:
    return "".join(f"_{label} {quote(str(value))}\n" for label, value in columns.items())


def loop_head(labels: Iterable[str]) -> str:
    """Return how a loop with these labels begins."""
    return "".join(["loop_\n", *(f"_{label} #{number}\n" for number, label in enumerate(labels, 1))])


def loop_rows(columns: Columns) -> str:
    """Return the rows of a loop, a line each."""
    quoted = [[quote(value) for value in column] for column in columns.values()]
    return "".join(" ".join(row) + "\n" for row in zip(*quoted, strict=True))


def _loop(first: Columns, more: Iterable[Columns]) -> str:
    return "".join([loop_head(first), *(loop_rows(columns) for columns in itertools.chain([first], more)), "\n"])
