"""STAR files as RELION writes and reads them: named tables of text columns, one row a line.

RELION's dialect is not CIF: each row is one line, names such as ``data_run1/mic.mrc`` and non-ASCII letters need no
quotes, and text never spans several lines. If a row is missing a value, a CIF parser takes it from the next line and
shifts all columns that follow. So this module reads line by line, as RELION does, and rejects rows of the wrong length.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.atomic import write_text
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

Table = dict[str, list[str]]
"""Columns by label without the leading underscore; a block of pairs is a table of one row."""
Columns = Mapping[str, Sequence[str] | str]
"""A block to write: a loop's columns, or the values of a list of pairs."""

_FLAGS = re.ASCII | re.IGNORECASE  # white space is ASCII's alone
_PLAIN = re.compile(r"""(?!data_|save_|(?:loop|stop|global)_$)(?=[^"'#$;_\[\]])[!-~]+""", _FLAGS)
_NUMBERS = re.compile(r"[-+.\de\n]+", re.ASCII)
_TOKEN = re.compile(r"""(?:'(?P<one>.*?)'|"(?P<two>.*?)"|(?P<comment>\#.*)|(?P<plain>[^\s'"#]\S*))(?=\s|$)""", re.ASCII)
_BLOCK = re.compile(r"data_([^\s/]*)$", _FLAGS)
_LABEL = re.compile(r"_[A-Za-z]\w*$", re.ASCII)
_LOOK = 16
LONGEST_LINE = 2**20
"""Bytes; a longer line is in no file of coordinates, and to split it would take all the memory."""
_NOT_TEXT = bytes([*range(9), *range(14, 32)])
"""Control characters."""


def read_tables(path: Path | str) -> dict[str, Table]:
    """Read every block of a STAR file.

    Parameters
    ----------
    path : Path or str
        Text: UTF-8, else Latin-1; any line ends.

    Returns
    -------
    dict of Table
        By block name without ``data_``, in file order; an unnamed block is "". Further blocks of the same name get a
        number: "particles (2)".

    Raises
    ------
    InputError
        The file is missing, unreadable, not text, or not STAR; the line is named where it is known.
    """
    return parse_tables(read_text(path, "STAR"), path)


def parse_tables(text: str, path: Path | str) -> dict[str, Table]:
    """Return the blocks of a STAR file's text as `read_tables` does; `path` is for messages."""
    return _Parser(path).parse(text)


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
        raise InputError(f"{path} has no data_{block} block (only {names}); choose another file.", path)
    candidates = list(tables.values()) if block is None else [tables[block]]
    for table in candidates:
        if table.keys() >= set(required):
            return table
    missing = ", ".join(f"_{label}" for label in required if not any(label in table for table in candidates))
    raise InputError(f"{path} has no table with the column {missing or ', '.join(required)}; give another file.", path)


def write_tables(path: Path | str, tables: Mapping[str, Columns | Iterable[Columns]], comment: str = "") -> None:
    """Write a STAR file atomically; equal tables give equal bytes.

    Parameters
    ----------
    path : Path or str
        Its folder is made when missing.
    tables : mapping
        Block name (without ``data_``, "" for an unnamed block) to columns by label (without underscore). Columns are
        sequences of equal length and make a loop; where the first value is a plain str, the block is a list of pairs.
        A long loop may come in pieces, one or more, which all have the same labels.
    comment : str
        One line for the top of the file.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    parts = [f"# {comment}\n"] if comment else []
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
    return f"\n;{value}\n;"  # a text field begins at the start of a line


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
        return np.fromiter(map(float, values), np.float64, len(values))
    except ValueError as error:
        for row, value in enumerate(values, 1):
            try:
                float(value)
            except ValueError:
                raise InputError(
                    f"{path}: {name} in row {row} is {value!r}, which is not a number; correct that row.", path
                ) from error
        raise


def read_text(path: Path | str, kind: str) -> str:
    """Return the text of a file, without a byte order mark, with a newline for every line end.

    UTF-8 is tried first; other text without control characters is Latin-1, as older programs write it.

    Raises
    ------
    InputError
        The file is missing, unreadable, or not text; `kind` names what was expected.
    """
    with readable(path):
        raw = Path(path).read_bytes()
    if len(raw) > LONGEST_LINE and _longest_line(raw) > LONGEST_LINE:
        raise InputError(
            f"{path} has a line of over a million characters, so it is not a {kind} file; give another file.", path
        )
    if len(raw.translate(None, _NOT_TEXT)) < len(raw):
        raise InputError(f"{path} is not a text file, so it is not a {kind} file; give another file.", path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _longest_line(raw: bytes) -> int:
    """Return the number of bytes in the longest line."""
    characters = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero((characters == ord("\n")) | (characters == ord("\r")))
    return int(np.diff(ends, prepend=-1, append=len(raw)).max())


class _Parser:
    """Reads the lines of a STAR file; `path` is for messages."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._tables: dict[str, Table] = {}
        self._blocks: dict[str, int] = {}
        self._table: Table | None = None
        self._labels: list[str] | None = None
        self._rows: list[list[str]] = []
        self._after_first: list[list[str]] = []  # columns of rows that were taken at once, after the first one
        self._plain = False
        self._lines: list[str] = []
        self._next = 0
        self._changes = self._counts = np.empty(0, np.intp)

    def parse(self, text: str) -> dict[str, Table]:
        self._plain = text.isascii() and not ("'" in text or '"' in text)
        self._lines = text.split("\n")
        self._counts = _values_per_line(text)
        self._changes = np.flatnonzero(np.diff(self._counts)) + 1
        for number, line, tokens in self._logical_lines():
            if self._rows and len(tokens) == len(self._rows[0]) > 2:  # what nearly every line is
                self._rows.append(tokens)
                continue
            block = _BLOCK.match(line) if len(tokens) == 1 else None
            if block is not None:
                self._end_loop()
                self._table = self._tables.setdefault(self._free_name(block[1]), {})
            elif self._table is None:
                raise self._error(number, "a block must begin with a line data_")
            elif line.lower() == "loop_":
                self._end_loop()
                self._labels = []
            elif self._labels is not None and not self._rows and _is_label(line, tokens):
                self._add_label(tokens[0], number)
            elif self._labels and not (self._rows and len(tokens) == 2 and _is_label(line, tokens)):
                if len(tokens) != len(self._labels):
                    values = "1 value" if len(tokens) == 1 else f"{len(tokens)} values"
                    raise self._error(number, f"{values}, but the table has {len(self._labels)} columns")
                self._rows.append(tokens)
                if len(self._rows) == 1:
                    self._take_rows()
            elif len(tokens) == 2 and _is_label(line, tokens):
                self._end_loop()
                self._set(tokens[0], [tokens[1]], number)
            else:
                raise self._error(number, "neither a label with its value nor a row of a table")
        self._end_loop()
        return self._tables

    def _take_rows(self) -> None:
        """Take the rows that follow the first one all at once, where nothing but white space separates their values."""
        assert self._labels is not None
        n, start = len(self._labels), self._next
        after = np.searchsorted(self._changes, start, side="right")
        stop = int(self._changes[after]) if after < len(self._changes) else len(self._lines)
        if n < 3 or start == len(self._lines) or self._counts[start] != n:
            return
        rows = "\n".join(["", *self._lines[start : stop + 1]])  # a text field may follow the last one
        if not rows.isascii() or any(sign in rows for sign in ("#", "'", '"', "\n;")):
            return
        values = "\n".join(self._lines[start:stop]).split()
        self._after_first, self._next = [values[column::n] for column in range(n)], stop

    def _logical_lines(self) -> Iterator[tuple[int, str, list[str]]]:
        """Yield (number, stripped line, tokens) of every line with something on it; a text field joins its lines."""
        lines = self._lines
        while self._next < len(lines):
            line, first = lines[self._next].strip(" \t\f\v"), self._next + 1
            self._next += 1
            tokens = self._split(line, first)
            while self._next < len(lines) and lines[self._next].startswith(";") and self._table is not None:
                number = self._next
                end = next((n for n in range(number + 1, len(lines)) if lines[n].startswith(";")), None)
                if end is None:
                    raise self._error(number + 1, "a text field without an end")
                field = "\n".join([lines[number][1:], *lines[number + 1 : end]])
                tokens += [field, *self._split(lines[end][1:], end + 1)]
                self._next = end + 1
            if tokens:
                yield first, line, tokens

    def _split(self, line: str, number: int) -> list[str]:
        """Return the values of a line; quotes keep words together, and # begins a comment."""
        if (self._plain or (line.isascii() and "'" not in line and '"' not in line)) and "#" not in line:
            return line.split()
        tokens, place = [], 0
        while place < len(line):
            if line[place] in " \t\f\v":
                place += 1
                continue
            found = _TOKEN.match(line, place)
            if found is None:
                raise self._error(number, "a quotation mark without an end")
            if found["comment"] is not None:
                break
            tokens.append(next(found[kind] for kind in ("one", "two", "plain") if found[kind] is not None))
            place = found.end()
        return tokens

    def _add_label(self, token: str, number: int) -> None:
        assert self._labels is not None and self._table is not None
        if token[1:] in (*self._labels, *self._table):
            raise self._error(number, f"the label {token} for a second time")
        self._labels.append(token[1:])

    def _set(self, token: str, values: list[str], number: int) -> None:
        assert self._table is not None
        if token[1:] in self._table:
            raise self._error(number, f"the label {token} for a second time")
        self._table[token[1:]] = values

    def _end_loop(self) -> None:
        if self._labels and self._table is not None:
            columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self._labels)
            if self._after_first:
                columns = [
                    (first, *values, *others)
                    for (first, *others), values in zip(columns, self._after_first, strict=True)
                ]
            for label, values in zip(self._labels, columns, strict=True):
                self._table[label] = _shared(values)
        self._labels, self._rows, self._after_first = None, [], []

    def _free_name(self, name: str) -> str:
        self._blocks[name] = count = self._blocks.get(name, 0) + 1
        return name if count == 1 else f"{name} ({count})"

    def _error(self, number: int, what: str) -> InputError:
        return InputError(
            f"{self._path} is not a readable STAR file (line {number}: {what}); fix that line or write the file again.",
            self._path,
        )


def _is_label(line: str, tokens: list[str]) -> bool:
    """Return whether a line begins with a label and not with a value in quotes or a name such as _a.mrc."""
    return line.startswith("_") and _LABEL.match(tokens[0]) is not None


def _shared(values: Iterable[str]) -> list[str]:
    """Return the values; in columns that repeat themselves equal values are one object, to save memory."""
    values = list(values)
    if len(set(values[:_LOOK])) > _LOOK / 2:
        return values
    known: dict[str, str] = {}
    return list(map(known.setdefault, values, values))


def _values_per_line(text: str) -> NDArray[np.intp]:
    """Return how many values, with white space between them, each line of a text holds, (n,)."""
    characters = np.frombuffer(b"\n" + text.encode(), np.uint8)
    space = characters <= ord(" ")
    starts = np.flatnonzero(space[:-1] & ~space[1:])
    ends = np.flatnonzero(characters == ord("\n"))
    return np.diff(np.searchsorted(starts, np.append(ends, len(characters))))


def _pairs(columns: Columns) -> str:
    return "".join(f"_{label} {quote(str(value))}\n" for label, value in columns.items())


def loop_head(labels: Iterable[str]) -> str:
    """Return how a loop with these labels begins."""
    return "".join(["loop_\n", *(f"_{label} #{number}\n" for number, label in enumerate(labels, 1))])


def _are_plain(column: Sequence[str]) -> bool:
    """Return whether no value needs quotes; numbers, which most are, are looked at all at once."""
    text = "\n".join(column)
    if _NUMBERS.fullmatch(text) and text.count("\n") == len(column) - 1 and "" not in column:
        return True
    return all(map(_PLAIN.fullmatch, column))


def loop_rows(columns: Columns) -> str:
    """Return the rows of a loop, a line each."""
    quoted = [column if _are_plain(column) else [quote(value) for value in column] for column in columns.values()]
    return "\n".join([*map(" ".join, zip(*quoted, strict=True)), ""])


def formatted(form: str, values: NDArray[Any]) -> list[str]:
    """Return numbers (n,) as texts, each by `form % value`; values that occur often are formatted once."""
    bits = values.view(f"i{values.dtype.itemsize}")  # tell 0.0 from -0.0
    few, place = np.unique(bits, return_inverse=True)
    if 2 * len(few) < len(values):
        texts = np.array([form % value for value in few.view(values.dtype).tolist()], object)
        return list(texts[place].tolist())
    return ("\n".join([form] * len(values)) % tuple(values.tolist())).split("\n") if len(values) else []


def _loop(first: Columns, more: Iterable[Columns]) -> str:
    return "".join([loop_head(first), *(loop_rows(columns) for columns in itertools.chain([first], more)), "\n"])
