"""Files to read, written byte by byte, so that the readers are not tested against the library they use."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_gempick.model.picks import Picks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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


@pytest.fixture
def write_raw(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, data: np.ndarray, *args: object, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mrc_bytes(data, *args, **options))  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture
def pattern() -> np.ndarray:
    """A (7, 5) image in which no two pixels are alike and no symmetry hides a flip."""
    return np.arange(35, dtype=np.float32).reshape(7, 5)


@pytest.fixture
def some_picks() -> Picks:
    return Picks(
        x=np.array([10.25, 300.0, 7.5]),
        y=np.array([20.125, 0.0, 4095.0]),
        map_x=np.array([5, 150, 4], np.int32),
        map_y=np.array([10, 0, 2047], np.int32),
        score=np.array([0.9, np.float32(1) / 3, -0.25], np.float32),
        k=np.array([12, 179, 0], np.int32),
        view=np.array([0, 1, 0], np.int32),
        section=np.array([0, 2, 1], np.int32),
        psi=np.array([330.0, 0.0, 359.9999]),
    )
