"""Ways to damage a file: bytes, headers, numbers and names in text, JSON trees, and no regular file at all."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

NUMBERS = (
    "nan", "NaN", "inf", "-inf", "Infinity", "1e308", "-1e308", "1e39", "1e-320", "-1", "0", "-0.0", "0.5",
    "2147483647", "2147483648", "-2147483649", "18446744073709551616", "9" * 400, "", "abc", "0x10", "None", "<NA>",
    "-999", "1e7", "1,5", "٣", "true", "[]",
)  # fmt: skip
NAMES = (
    "../../../evil.mrc", "/evil/evil.mrc", "..", ".", "", "~", "C:\\evil.mrc", "..\\evil.mrc", "a\nb.mrc", "a\rb.mrc",
    "a\x1b[31mb.mrc", "a\x00b.mrc", "a\udcffb.mrc", "n" * 300 + ".mrc", "a b.mrc", "'q.mrc", '"q".mrc', "\u202egnp.mrc",
    "\u2028.mrc", "-rf.mrc", "*", "a,b.mrc", "#c.mrc", "mic\u00e9.mrc", "3@x.mrcs", "0@x.mrcs", "99999999999@x.mrcs",
)  # fmt: skip
_MOST_BYTES = 2**20
_WORDS = (0, -1, 1, 2, 3, 2**31 - 1, -(2**31), 65536, 10**6, 0x7FC00000, 0x7F800000, -8388608)
_FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -1.0, 3e38, 1e-40, 1e6)
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**31, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "text", [], {}, [[]], [None],
    {"a": 1}, [1, 2, 3], "1" * 5000, *NAMES,
)  # fmt: skip


def damaged(rng: random.Random, kind: str, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Return a file of a kind with one to three damages; `others` are files to splice in."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if len(raw) < _MOST_BYTES:
            raw = rng.choice(_OF_KIND[kind])(rng, raw, others)
    return raw


def put_in_place(rng: random.Random, path: Path) -> str:
    """Put something that is not a regular file in the place of a file; return what."""
    what = rng.choice(("missing", "folder", "pipe", "loop", "device", "empty"))
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path.name)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "empty":
        path.write_bytes(b"")
    return what


def _bytes(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    data = bytearray(raw or b"\0")
    at = rng.randrange(len(data))
    if rng.random() < 0.5:  # most of what a reader decides by stands in the beginning
        at = min(at, rng.randrange(1, 1025))
    end = min(len(data), at + rng.choice((1, 2, 4, 16, 100, 1000)))
    what = rng.randrange(8)
    if what == 0:
        data[at] ^= 1 << rng.randrange(8)
    elif what == 1:
        data[at:end] = rng.randbytes(end - at)
    elif what == 2:
        data[at:at] = rng.randbytes(rng.choice((1, 2, 7, 64, 1000)))
    elif what == 3:
        del data[at:end]
    elif what == 4:
        data[end:end] = data[at:end] * rng.choice((1, 2, 50))
    elif what == 5:
        del data[rng.choice((at, len(data) - 1, len(data) // 2)) :]
    elif what == 6:
        data[at:end] = bytes([rng.choice((0, 255))]) * (end - at)
    else:
        other = rng.choice(others)
        cut = rng.randrange(len(other) + 1)
        return bytes(data[:at]) + other[cut:]
    return bytes(data)


def _mrc(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Set words of an MRC header, or exchange its byte order."""
    data = bytearray(raw.ljust(1024, b"\0"))
    if rng.random() < 0.1:
        for word in range(56):
            data[4 * word : 4 * word + 4] = data[4 * word : 4 * word + 4][::-1]
        return bytes(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        word = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19, 20, 21, 22, 23, 38, 39, 52, 53))
        if word in (10, 11, 12, 19, 20, 21):
            struct.pack_into("<f", data, 4 * word, rng.choice(_FLOATS))
        else:
            struct.pack_into("<i", data, 4 * word, rng.choice((*_WORDS, rng.randrange(200), 1024)))
    return bytes(data)


def _packed(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Damage an MRC file inside its gzip or bzip2 wrapping, or wrap a bomb."""
    opened, close = (bz2.decompress, bz2.compress) if raw[:3] == b"BZh" else (gzip.decompress, gzip.compress)
    try:
        inner = opened(raw)
    except Exception:  # damaged before
        return _bytes(rng, raw, others)
    if rng.random() < 0.1:
        return close(inner + bytes(2**25))
    return close(_mrc(rng, inner, others) if rng.random() < 0.7 else _bytes(rng, inner, others))


def _tiff(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Set the type, count or value of an entry of the first directory."""
    data = bytearray(raw)
    order = "<" if raw[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        entry = start + 2 + 12 * rng.randrange(count + 1)
        what = rng.randrange(4)
        if what == 0:
            struct.pack_into(order + "H", data, entry, rng.choice((254, 256, 257, 258, 259, 262, 277, 278, 322, 339)))
        elif what == 1:
            struct.pack_into(order + "H", data, entry + 2, rng.randrange(20))
        elif what == 2:
            struct.pack_into(order + "i", data, entry + 4, rng.choice(_WORDS))
        else:
            struct.pack_into(order + "i", data, entry + 8, rng.choice((*_WORDS, start, 5, 7, 8, 32773, 50000, 34712)))
    except (struct.error, ValueError):
        return _bytes(rng, raw, others)
    return bytes(data)


def _cs(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Set a value of a NumPy table, drop a field, or damage its header."""
    if rng.random() < 0.4:
        head = raw[:10] + raw[10:2000].replace(*rng.choice(_HEADERS), 1)
        return head + raw[2000:]
    try:
        rows = np.load(io.BytesIO(raw), allow_pickle=False).copy()
        names = list(rows.dtype.names)
    except Exception:  # damaged before
        return _bytes(rng, raw, others)
    name = rng.choice(names)
    if rng.random() < 0.3:
        kept = [one for one in names if one != name]
        rows = np.array(rows[kept], dtype=[(one, rows.dtype[one]) for one in kept])
    elif len(rows):
        field = rows[name]
        row = rng.randrange(len(rows))
        if field.dtype.kind == "f":
            field[row] = rng.choice(_FLOATS)
        elif field.dtype.kind in "iu":
            field[row] = rng.choice((0, 1, np.iinfo(field.dtype).max))
        elif field.dtype.kind == "S":
            field[row] = rng.choice(NAMES).encode("utf-8", "surrogateescape")
    out = io.BytesIO()
    np.save(out, rows)
    return out.getvalue()


_HEADERS = (
    (b"(2,)", b"(9999999999999,)"), (b"(2,)", b"(-2,)"), (b"(2,)", b"(2,2)"), (b"(2,)", b"()"), (b"<f4", b"|O"),
    (b"<f4", b"<f8"), (b"<f4", b"<U9"), (b"<u8", b"<f4"), (b"<u4", b"|S4"), (b"'descr'", b"'desc'"), (b"{", b"(" * 300),
    (b"{", b"["), (b"<f4", b">f4"), (b"<u4", b"<i4"), (b"<u8", b"<M8"), (b"False", b"True"), (b"<f4", b"<c8"),
)  # fmt: skip


def _text(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Damage words, rows and line ends of a text."""
    text = raw.decode("utf-8", "surrogateescape")
    lines = text.split("\n")
    row = rng.randrange(len(lines))
    what = rng.randrange(14)
    if what < 4:
        words = list(re.finditer(r"[^\s,;\"]+", text))
        numbers = [word for word in words if re.fullmatch(r"[-+.\deE@]+", word[0])]
        named = [word for word in words if "." in word[0] and re.search(r"[A-Za-z]{2}", word[0])]
        chosen = named if what == 3 else numbers if what < 2 else words
        if chosen:
            word = rng.choice(chosen)
            new = rng.choice(NAMES if what == 3 else NUMBERS)
            text = text[: word.start()] + new + text[word.end() :]
    elif what == 4:
        lines.insert(row, rng.choice(lines))
        text = "\n".join(lines)
    elif what == 5:
        del lines[row]
        text = "\n".join(lines)
    elif what == 6:
        words = re.split(r"(\s|,)", lines[row])
        lines[row] = "".join(words[:-2] if rng.random() < 0.5 else [*words, " ", "7"])
        text = "\n".join(lines)
    elif what == 7:
        at = rng.randrange(len(text) + 1)
        new = rng.choice(
            ('"', "'", "\ufeff", "\0", "#", ";", "\n;", ",", "\x1b", "\x0c", "\u2028", "data_\n", "loop_\n")
        )
        text = text[:at] + new + text[at:]
    elif what == 8:
        text = text.replace("\n", rng.choice(("\r", "\r\n", "\n\n", "\n\r", " ")))
    elif what == 9:
        text = rng.choice(("\ufeff", "\n\n", "# x\n", "\ufeff\ufeff")) + text
    elif what == 10:
        return text.encode("utf-16", "surrogatepass")
    elif what == 11:
        text = text.replace(lines[row], lines[row] * (2 if len(text) > 2**16 else rng.choice((2, 3000))), 1)
    elif what == 12:
        text = text.replace(" ", rng.choice(("\t", "  ", "", ",")))
    else:
        text = text.upper() if rng.random() < 0.5 else text.replace("_", "", rng.randrange(1, 4))
    return text.encode("utf-8", "surrogateescape")


def _json(rng: random.Random, raw: bytes, others: Sequence[bytes]) -> bytes:
    """Replace, remove, rename or repeat something in a tree, or nest it deep; of lines of JSON, one of them."""
    lines = raw.splitlines()
    row = rng.randrange(len(lines)) if lines else 0
    try:
        tree, of_lines = json.loads(raw), False
    except (ValueError, RecursionError):
        try:
            tree, of_lines = json.loads(lines[row]), True
        except (ValueError, RecursionError, IndexError):
            return _bytes(rng, raw, others)
    if rng.random() < 0.08:
        deep = rng.choice(("[", '{"a":')) * 100_000
        return json.dumps(tree)[:-1].encode() + b', "z": ' + deep.encode()
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items)[:200]:
            places.append((node, key))
            collect(value)

    collect(tree)
    if not places or rng.random() < 0.03:
        tree = rng.choice(_VALUES)
    else:
        node, key = rng.choice(places)
        what = rng.random()
        if what < 0.6:
            node[key] = rng.choice(_VALUES)
        elif what < 0.85 or isinstance(node, list):
            del node[key]
        else:
            node[rng.choice(("", "x", "../x", "extra", "\x1b"))] = node.pop(key)
    made = json.dumps(tree, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if not of_lines:
        return made
    lines[row] = made
    return b"\n".join([*lines, b""])


_OF_KIND: dict[str, tuple[Any, ...]] = {
    "binary": (_bytes,),
    "mrc": (_mrc, _mrc, _bytes),
    "packed": (_packed, _packed, _bytes),
    "tiff": (_tiff, _tiff, _bytes),
    "cs": (_cs, _cs, _bytes),
    "text": (_text, _text, _text, _bytes),
    "json": (_json, _json, _json, _text, _bytes),
}
