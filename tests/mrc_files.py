"""MRC files written byte by byte, so that the readers are not tested against the library they use."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_MODES = {"i1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "f2": 12}


def mrc_bytes(
    data: np.ndarray,
    spacing: tuple[float, float, float] = (1.5, 1.5, 1.5),
    *,
    order: str = "<",
    stamp: bytes | None = None,
    mode: int | None = None,
    ispg: int = 0,
    extended: bytes = b"",
    axes: tuple[int, int, int] = (1, 2, 3),
) -> bytes:
    """An MRC file after the MRC2014 table, words counted from 0."""
    data = data if data.ndim == 3 else data[None]
    nz, ny, nx = data.shape
    words = bytearray(1024)

    def put(word: int, form: str, *values: float) -> None:
        struct.pack_into(order + form, words, 4 * word, *values)

    put(0, "4i", nx, ny, nz, _MODES[data.dtype.str[1:]] if mode is None else mode)
    put(7, "3i", nx, ny, nz)
    put(10, "3f", nx * spacing[0], ny * spacing[1], nz * spacing[2])
    put(13, "3f", 90, 90, 90)
    put(16, "3i", *axes)
    put(22, "2i", ispg, len(extended))
    words[208:212] = b"MAP "
    words[212:216] = {"<": b"DD\0\0", ">": b"\x11\x11\0\0"}[order] if stamp is None else stamp
    return bytes(words) + extended + data.astype(data.dtype.newbyteorder(order)).tobytes()
