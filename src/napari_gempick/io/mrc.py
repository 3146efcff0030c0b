"""The MRC format: header to array without copying, and arrays to files with the same bytes for the same data."""

from __future__ import annotations

import contextlib
import gzip
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import byte_order_from_machine_stamp

from napari_gempick.io.atomic import atomic_path
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_Order = Literal["<", ">"]
HEADER_BYTES = 1024
LABEL = b"napari-gempick"
_LONGEST_SIDE = 1_000_000
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_OTHER_MODES = {3: "complex 16-bit integers", 4: "a Fourier transform", 16: "RGB colour", 101: "packed 4-bit integers"}
_WRITTEN_AS = {"float64": "float32", "bool": "int8", "uint8": "uint16"}


@dataclass(frozen=True, eq=False)
class RawImage:
    """The pixels of a file and what its header says about them.

    Attributes
    ----------
    data : (z, y, x) array
        As stored: the file's dtype and byte order, read-only, a memory map where possible.
    spacing : tuple of float
        Pixel size in Å along x, y and z as the header has it; 0 where it says nothing.
    source : str
        Where the spacing comes from, for messages: "MRC header" or "TIFF resolution tag".
    volume : bool
        The header marks the sections as slices of one 3D map (MRC space group 1), not as a stack of images.
    path : Path
        The file.
    """

    data: NDArray[Any]
    spacing: tuple[float, float, float]
    source: str
    volume: bool
    path: Path


@dataclass(frozen=True)
class _Layout:
    """Where the pixels lie in the file."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    spacing: tuple[float, float, float]
    axes: tuple[int, int, int]
    volume: bool


def open_mrc(path: Path, head: bytes, size: int) -> RawImage:
    """Memory-map an MRC file, given its first 1024 bytes and its size in bytes.

    Raises
    ------
    InputError
        The file is not MRC, is truncated, or has a mode that is no real-valued image.
    """
    layout = _layout(path, head, size)
    data = np.memmap(path, layout.dtype, mode="r", offset=layout.offset, shape=layout.shape)
    return _image(path, layout, data)


def mrc_from_bytes(path: Path, content: bytes) -> RawImage:
    """Read an MRC file that is in memory already (decompressed); errors as `open_mrc`."""
    layout = _layout(path, content[:HEADER_BYTES], len(content))
    count = int(np.prod(layout.shape, dtype=np.int64))
    data = np.frombuffer(content, layout.dtype, count, layout.offset).reshape(layout.shape)
    return _image(path, layout, data)


def write_mrc(path: Path | str, data: NDArray[Any], pixel_size: float | None, *, stack: bool = False) -> None:
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
            mrc.header.nlabl = 1
        if str(path).endswith(".gz"):
            temporary.write_bytes(gzip.compress(temporary.read_bytes(), compresslevel=6, mtime=0))


def _image(path: Path, layout: _Layout, data: NDArray[Any]) -> RawImage:
    """Put the axes of a map in the order (z, y, x), as its header numbers them (columns, rows, sections)."""
    spacing = layout.spacing
    if layout.shape[0] > 1 and sorted(layout.axes) == [1, 2, 3]:
        axes_of_data = layout.axes[::-1]
        data = data.transpose([axes_of_data.index(axis) for axis in (3, 2, 1)])
    return RawImage(data, spacing, "MRC header", layout.volume, path)


def _layout(path: Path, head: bytes, size: int) -> _Layout:
    if size < HEADER_BYTES:
        raise InputError(
            f"{path} has {size} bytes, fewer than the {HEADER_BYTES} of an MRC header: it is truncated "
            "or not an MRC file; copy it again or convert it to MRC.",
            path,
        )
    header, order = _header(path, head)
    mode = int(header["mode"])
    shape = (int(header["nz"]), int(header["ny"]), int(header["nx"]))
    if mode not in _DTYPES:
        raise InputError(
            f"{path} has MRC mode {mode} ({_OTHER_MODES[mode]}), which cannot be searched; "
            "convert it to mode 2 (32-bit float).",
            path,
        )
    dtype = np.dtype(_DTYPES[mode]).newbyteorder(order)
    offset = HEADER_BYTES + int(header["nsymbt"])
    expected = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size < expected:
        raise InputError(
            f"{path} is truncated: {size} bytes are there, {expected} expected "
            f"({shape[2]} x {shape[1]} x {shape[0]} pixels, mode {mode}); copy it again.",
            path,
        )
    axes = (int(header["mapc"]), int(header["mapr"]), int(header["maps"]))
    return _Layout(shape, dtype, offset, _spacing(header), axes, int(header["ispg"]) == 1)


def _header(path: Path, head: bytes) -> tuple[np.void, _Order]:
    """Return the header and its byte order; the machine stamp is tried first, for many programs leave it wrong."""
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


def _spacing(header: np.void) -> tuple[float, float, float]:
    """Pixel size along x, y, z in Å; six digits, which is what the header's float32 cell can hold."""
    values = []
    for axis, count in (("x", "mx"), ("y", "my"), ("z", "mz")):
        length, samples = float(header["cella"][axis]), int(header[count])
        values.append(float(f"{length / samples:.6g}") if samples > 0 else 0.0)
    return values[0], values[1], values[2]
