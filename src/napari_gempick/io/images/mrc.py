"""The MRC format: header to array, and arrays to files with the same bytes for the same data.

The sections of an image file, each read when it is needed.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp

from napari_gempick.io.atomic import atomic_path
from napari_gempick.io.images.mrc_layout import HEADER_BYTES, Place, are_unsigned, holds_two
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_Order = Literal["<", ">"]
LABEL = b"napari-gempick"
_LONGEST_SIDE = 1_000_000
_PACKED = 101
"""4 bits a pixel, as SerialEM and IMOD write counts."""
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", _PACKED: "u1"}
_OTHER_MODES = {3: "complex 16-bit integers", 4: "a Fourier transform", 16: "RGB colour"}
_JUDGED = 2**26
"""Bytes that are read to tell signed from unsigned ones."""
_WRITTEN_AS = {"float64": "float32", "bool": "int8", "uint8": "uint16"}


@dataclass(frozen=True, eq=False)
class RawImage:
    """The pixels of a file and what its header says about them.

    Attributes
    ----------
    data : Pixels
        (z, y, x), as stored: the file's dtype and byte order; read when they are asked for.
    spacing : tuple of float
        Pixel size in Å along x, y and z as the header has it; 0 where it says nothing.
    source : str
        Where the spacing comes from, for messages: "MRC header" or "TIFF resolution tag".
    volume : bool
        The header marks the sections as slices of one 3D map (MRC space group 1), not as a stack of images.
    path : Path
        The file.
    notes : tuple of str
        Sentences for the user about how an odd file was read.
    remark : str
        What `write_mrc` was given as `note`, in a file of this program.
    """

    data: Pixels
    spacing: tuple[float, float, float]
    source: str
    volume: bool
    path: Path
    notes: tuple[str, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class _Form:
    """Size and kind of the pixels, as the header says."""

    shape: tuple[int, int, int]
    mode: int
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row; rows of 4-bit pixels are padded to a byte."""
        return (self.shape[2] + 1) // 2 if self.mode == _PACKED else self.shape[2] * self.dtype.itemsize

    @property
    def section_bytes(self) -> int:
        """Bytes of a section."""
        return self.shape[1] * self.row_bytes

    def section(self, raw: NDArray[np.uint8]) -> NDArray[Any]:
        """Return a section's bytes as (ny, nx)."""
        if self.mode == _PACKED:
            return _unpacked(raw).reshape(self.shape[1], -1)[:, : self.shape[2]]
        return raw.view(self.dtype).reshape(self.shape[1:])

    def row_of_pixels(self, raw: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return bytes from anywhere as pixels, as many as are whole."""
        if self.mode == _PACKED:
            return _unpacked(raw).astype(np.float64)
        with np.errstate(all="ignore"):
            return raw[: len(raw) // self.dtype.itemsize * self.dtype.itemsize].view(self.dtype).astype(np.float64)


def header_of(path: Path, head: bytes) -> tuple[int, tuple[int, int, int]]:
    """Return how many bytes a file has by its header, and its shape (z, y, x); errors as `open_mrc`."""
    header, order = _header(path, head)
    form = _form(path, header, order)
    return HEADER_BYTES + int(header["nsymbt"]) + form.shape[0] * form.section_bytes, form.shape


def open_mrc(path: Path, head: bytes, size: int, read: Callable[[int, int], NDArray[np.uint8]]) -> RawImage:
    """Open an MRC file.

    Parameters
    ----------
    head : bytes
        Its first 1024 bytes.
    size : int
        Its bytes, decompressed.
    read : callable
        `read(start, count)` returns `count` bytes of the file from byte `start` on.

    Raises
    ------
    InputError
        The file is not MRC, is truncated, does not hold real values, or differs in size from what its header
        says, without a sign of where the pixels begin.
    """
    if size < HEADER_BYTES:
        raise InputError(
            f"{path} has {size} bytes, fewer than the {HEADER_BYTES} of an MRC header: it is truncated "
            "or not an MRC file; copy it again or convert it to MRC.",
            path,
        )
    header, order = _header(path, head)
    form = _form(path, header, order)
    notes: tuple[str, ...] = ()
    extended, need = int(header["nsymbt"]), form.shape[0] * form.section_bytes
    if form.mode == 0:
        if holds_two(header):
            raise InputError(f"{path} holds two 4-bit pixels in each byte; unpack them to MRC mode 1 with IMOD.", path)
        first = min(HEADER_BYTES + extended, max(HEADER_BYTES, size - need))
        count = max(0, min(need, size - first, _JUDGED))
        why = are_unsigned(header, read(first, count), whole=count == need)
        if why:
            form = replace(form, dtype=np.dtype(np.uint8))
            notes = (f"{path}: its bytes (MRC mode 0) were read as unsigned: {why}.",)

    def look(start: int, end: int) -> NDArray[np.float64]:
        return form.row_of_pixels(read(start, max(0, min(end, size) - start)))

    per_row = 2 * form.row_bytes if form.mode == _PACKED else form.shape[2]
    shown = f"{form.shape[2]} x {form.shape[1]} x {form.shape[0]} pixels, mode {form.mode}"
    place = Place(path, size, extended, form.section_bytes, form.shape[0], per_row, look, header, shown)
    offset, note = place.find()
    notes += (note,) if note else ()

    def section(number: int) -> NDArray[Any]:
        return form.section(read(offset + number * form.section_bytes, form.section_bytes))

    pixels = _in_order(Pixels(form.shape, form.dtype, section), header)
    return RawImage(pixels, _spacing(header), "MRC header", int(header["ispg"]) == 1, path, notes, _remark(header))


def write_mrc(
    path: Path | str, data: NDArray[Any], pixel_size: float | None, *, stack: bool = False, note: str = ""
) -> None:
    """Write an image, a stack or a map as MRC, atomically; equal data gives equal bytes.

    Parameters
    ----------
    path : Path or str
        Its folder is made when missing. With the suffix .gz the file is compressed.
    data : (y, x) or (z, y, x) array
        The MRC mode follows the dtype: int8 0, int16 1, float32 2, uint16 6, float16 12.
        float64 is written as float32, bool as int8, uint8 as uint16.
    pixel_size : float or None
        Å, for the header; None writes 0, which means unknown.
    stack : bool
        Mark a 3D array as a stack of images; otherwise it is one volume.
    note : str
        A second label, ASCII of up to 80 characters.

    Raises
    ------
    OutputError
        The file cannot be written; an older file of that name stays as it was.
    ValueError
        The array is not 2D or 3D, or has a dtype without an MRC mode.
    """
    if data.ndim not in (2, 3):
        raise ValueError(f"MRC holds 2D and 3D arrays, not {data.ndim}D")
    data = np.asarray(data, dtype=_WRITTEN_AS.get(data.dtype.name, data.dtype))
    with atomic_path(path) as temporary:
        with mrcfile.new(temporary, overwrite=True) as mrc:
            mrc.set_data(data)
            if data.ndim == 3 and stack:
                mrc.set_image_stack()
            elif data.ndim == 3:
                mrc.set_volume()
            mrc.voxel_size = pixel_size or 0.0
            mrc.header.label = b""
            mrc.header.label[0] = LABEL  # mrcfile puts the time of day here
            mrc.header.label[1] = note.encode("ascii")
            mrc.header.nlabl = 2 if note else 1
        if str(path).endswith(".gz"):
            temporary.write_bytes(gzip.compress(temporary.read_bytes(), compresslevel=6, mtime=0))


def _unpacked(raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return bytes as 4-bit pixels, the low half of each first (IMOD's mode 101)."""
    pixels = np.empty((len(raw), 2), np.uint8)
    pixels[:, 0], pixels[:, 1] = raw & 15, raw >> 4
    return pixels.ravel()


def _in_order(pixels: Pixels, header: np.void) -> Pixels:
    """Put the axes of a map in the order (z, y, x), as its header numbers them (columns, rows, sections)."""
    axes = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    if pixels.shape[0] == 1 or sorted(axes) != [1, 2, 3] or axes == [3, 2, 1]:
        return pixels
    order = [axes.index(axis) for axis in (3, 2, 1)]
    nz, ny, nx = (pixels.shape[axis] for axis in order)
    whole = functools.cache(lambda: np.asarray(pixels).transpose(order))
    return Pixels((nz, ny, nx), pixels.dtype, lambda number: whole()[number])


def _form(path: Path, header: np.void, order: _Order) -> _Form:
    mode = int(header["mode"])
    if mode not in _DTYPES:
        raise InputError(
            f"{path} has MRC mode {mode} ({_OTHER_MODES[mode]}), which cannot be searched; "
            "convert it to mode 2 (32-bit float).",
            path,
        )
    shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    return _Form(shape, mode, np.dtype(_DTYPES[mode]).newbyteorder(order))


def _header(path: Path, head: bytes) -> tuple[np.void, _Order]:
    """Return the header and its byte order: the machine stamp's, else the other, as many programs leave it wrong."""
    orders: list[_Order] = ["<", ">"]
    with contextlib.suppress(ValueError):  # no stamp: old files; the sizes and the mode tell
        orders.sort(key=byte_order_from_machine_stamp(head[212:216]).__ne__)
    for order in orders:
        header = np.frombuffer(head, HEADER_DTYPE.newbyteorder(order), 1)[0]
        sizes = [int(header[name]) for name in ("nx", "ny", "nz")]
        known_mode = int(header["mode"]) in _DTYPES.keys() | _OTHER_MODES.keys()
        if known_mode and all(1 <= size <= _LONGEST_SIDE for size in sizes) and int(header["nsymbt"]) >= 0:
            return header, order
    raise InputError(f"{path} is neither an MRC nor a TIFF file; convert it to MRC.", path)


def _remark(header: np.void) -> str:
    first, second = (bytes(label).rstrip(b"\0 ") for label in header["label"][:2])
    return second.decode("ascii", "replace") if first == LABEL else ""


def _spacing(header: np.void) -> tuple[float, float, float]:
    """Pixel size along x, y, z in Å; six digits, which is what the header's float32 cell can hold."""
    values = []
    for axis, count in (("x", "mx"), ("y", "my"), ("z", "mz")):
        length, samples = float(header["cella"][axis]), int(header[count])
        values.append(float(f"{length / samples:.6g}") if samples > 0 else 0.0)
    return values[0], values[1], values[2]


class Pixels:
    """Images of equal size in a file; an index reads only those images, `np.asarray` reads all.

    Parameters
    ----------
    shape : (n, ny, nx)
    dtype : dtype
        As stored: the file's own, with its byte order.
    section : callable
        Reads section number i, from 0, as (ny, nx). Raises InputError.
    """

    ndim = 3

    def __init__(
        self, shape: tuple[int, int, int], dtype: np.dtype[Any], section: Callable[[int], NDArray[Any]]
    ) -> None:
        self.shape, self.dtype, self._section = shape, dtype, section

    @property
    def size(self) -> int:
        """Number of pixels."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Number of bytes in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return a part as NumPy does; only the sections that the first index names are read."""
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, (int, np.integer)):
            image = self._section(int(np.arange(len(self))[first]))
            part: NDArray[Any] = image[tuple(rest)] if rest else image
            return part
        if first is None or first is Ellipsis:
            whole: NDArray[Any] = np.asarray(self)[key]
            return whole
        part = self._stack(np.arange(len(self))[first])
        return part[(slice(None), *rest)] if rest else part

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        data = self._stack(np.arange(len(self)))
        return data if dtype is None else data.astype(dtype, copy=False)

    def _stack(self, numbers: NDArray[np.intp]) -> NDArray[Any]:
        data = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for place, number in enumerate(numbers):
            data[place] = self._section(int(number))
        return data
