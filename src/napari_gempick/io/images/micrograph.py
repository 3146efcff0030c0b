"""Read a micrograph: one 2D image with a pixel size that can be trusted.

Open an image file of any kind we read, and judge the pixel size that its header gives.
"""

from __future__ import annotations

import bz2
import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_gempick.io.images.mrc import RawImage, header_of, open_mrc
from napari_gempick.io.images.mrc_layout import HEADER_BYTES
from napari_gempick.io.images.tiff import LARGEST_PIXEL, MAGIC, SMALLEST_PIXEL, check_unpacked, open_tiff
from napari_gempick.io.reading import parsing, read_at, readable
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ANISOTROPY = 0.01
PACKED = _GZIP, _BZIP2 = b"\x1f\x8b\x08", b"BZh"
"""What compressed files begin with."""
_EXCESS = 2**22
"""Bytes that are read behind the declared end of a compressed file."""
_OTHERS = (  # what other image files begin with
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as EMAN2's .hdf"),
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x93NUMPY", "a NumPy file"),
    (b"\x00\x00\x00\x04\x00\x00\x00\x00", "a DM4 file of Digital Micrograph"),
    (b"\x00\x00\x00\x03", "a DM3 file of Digital Micrograph"),
)


def open_image(path: Path | str, *, single: bool = False) -> RawImage:
    """Open MRC, MRC.gz, MRC.bz2 or TIFF; the content tells the format, not the name.

    Parameters
    ----------
    path : Path or str
        The file.
    single : bool
        Refuse a file with more than one section.

    Returns
    -------
    RawImage
        Data (z, y, x) in the file's own dtype, or uint8 where MRC bytes are unsigned; sections of uncompressed files
        are read when they are needed, by plain reads of the file.

    Raises
    ------
    InputError
        The file is missing, unreadable, empty, truncated, corrupt, of another format, complex or in colour, a pipe or
        a device, or holds several sections where one is wanted.
    """
    path = Path(path)
    head, size = _head(path)
    if head[:4] in MAGIC:
        image = open_tiff(path, size)
    else:
        with parsing(path, "an MRC file"):
            if head.startswith(PACKED):
                content = np.frombuffer(_decompressed(path, size), np.uint8)
                head, size = content[:HEADER_BYTES].tobytes(), len(content)

                def read(start: int, count: int) -> NDArray[np.uint8]:
                    return content[start : start + count]

            else:

                def read(start: int, count: int) -> NDArray[np.uint8]:
                    return read_at(path, start, count)

            try:
                image = open_mrc(path, head, size, read)
            except InputError:
                _name_other(path, head)
                raise
    if single:
        _refuse_sections(path, image.data.shape[0])
    return image


def has_sections(path: Path | str) -> bool:
    """Return whether an MRC file says that it has several sections; False for what cannot be read, and for TIFF."""
    shape = _mrc_shape(path)
    return shape is not None and shape[0] > 1


def sides_of(path: Path | str) -> tuple[int, int] | None:
    """Return the pixels (ny, nx) of an image by its header; None for what cannot be read."""
    shape = _mrc_shape(path)
    if shape is None:
        try:
            shape = open_image(path).data.shape
        except InputError:
            return None
    return shape[1], shape[2]


def _mrc_shape(path: Path | str) -> tuple[int, int, int] | None:
    """Return the shape (z, y, x) of an MRC file by its header; None for what cannot be read, and for TIFF."""
    try:
        head, _ = _head(Path(path))
        with parsing(path, "an MRC file"):
            if head.startswith(PACKED):
                with _unpacking(Path(path)) as stream:
                    head = stream.read(HEADER_BYTES)
            if len(head) == HEADER_BYTES and head[:4] not in MAGIC:
                return header_of(Path(path), head)[1]
    except InputError:
        pass
    return None


def header_pixel_size(image: RawImage, *, option: str = "--pixel-size", axes: int = 2) -> float | None:
    """Return the pixel size in Å that the file gives, or None when it gives none.

    Parameters
    ----------
    image : RawImage
        From `open_image`.
    option : str
        The option that overrides the header, named in errors.
    axes : int
        2 looks at x and y, 3 at z as well.

    Raises
    ------
    InputError
        The value cannot be right: the axes differ by more than 1 %, or it lies outside 0.1 to 50 Å.
    """
    values = image.spacing[:axes]
    if not any(values):
        return None
    remedy = f"give the right one with {option} in Å"
    shown = " x ".join(f"{value:g}" for value in values)
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise InputError(f"{image.path}: the {image.source} implies a pixel size of {shown} Å; {remedy}.", image.path)
    if max(values) > min(values) * (1 + _ANISOTROPY):
        raise InputError(
            f"{image.path}: the {image.source} gives unequal pixel sizes, {shown} Å, and only square pixels can be "
            f"searched; {remedy} if they are square.",
            image.path,
        )
    value = values[0]
    if not SMALLEST_PIXEL <= value <= LARGEST_PIXEL:
        raise InputError(
            f"{image.path}: the {image.source} gives a pixel size of {value:g} Å, which is implausible"
            f"{_mix_up(value)}; {remedy}.",
            image.path,
        )
    return value


def plausible(pixel_size: float | None) -> float | None:
    """Return a pixel size in Å, None where it cannot be right."""
    return pixel_size if pixel_size is not None and SMALLEST_PIXEL <= pixel_size <= LARGEST_PIXEL else None


def listed_pixel_size(
    image: RawImage, listed: float, source: str, option: str = "--pixel-size"
) -> tuple[float | None, tuple[str, ...]]:
    """Return the pixel size in Å of an image that a STAR file lists, and notes for the user: the list counts.

    Parameters
    ----------
    image : RawImage
        From `open_image`.
    listed : float
        What the list says, Å; without sense (0, NaN, outside 0.1 to 50) the header counts.
    source : str
        What the list is called in messages.
    option : str
        The option that overrides both.

    Raises
    ------
    InputError
        Neither value can be right.
    """
    if plausible(listed) is None:
        value = header_pixel_size(image, option=option)
        taken = "" if value is None else f"; the {value:g} Å of the {image.source} were taken"
        return value, (f"{image.path}: {source} gives a pixel size of {listed:g} Å, which is implausible{taken}.",)
    try:
        value = header_pixel_size(image, option=option)
    except InputError:
        value = None
    if value is None or abs(value - listed) <= _ANISOTROPY * min(value, listed):
        return listed, ()
    return listed, (
        f"{image.path}: the {image.source} gives a pixel size of {value:g} Å, but {source} gives {listed:g} Å, which "
        f"was taken; if it is wrong, give the right one with {option} in Å.",
    )


def _mix_up(value: float) -> str:
    """Name the unit that the value was probably meant in."""
    for unit, factor, low, high in (("nm", 10.0, 0.02, 0.1), ("metres", 1e10, 1e-11, 5e-9), ("pm", 0.01, 50.0, 5e3)):
        if low <= value <= high:
            return f" and looks like {unit} ({value * factor:g} Å)"
    return ""


def _head(path: Path) -> tuple[bytes, int]:
    with readable(path), path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
        size = path.stat().st_size
    if not head:
        raise InputError(f"{path} is empty (0 bytes); copy it again.", path)
    return head, size


def _unpacking(path: Path) -> gzip.GzipFile | bz2.BZ2File:
    with path.open("rb") as stream:
        return gzip.open(path) if stream.read(len(_GZIP)) == _GZIP else bz2.open(path)


def _decompressed(path: Path, size: int) -> bytes:
    """Unpack the header first, then its image and a little more, so that a small file cannot fill the memory."""
    try:
        with _unpacking(path) as stream:
            head = stream.read(HEADER_BYTES)
            if len(head) < HEADER_BYTES:
                return head
            need, _ = header_of(path, head)
            check_unpacked(path, size, need)
            return head + stream.read(need - len(head) + _EXCESS)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} cannot be decompressed, it is truncated or corrupt ({error}); copy it again.", path
        ) from error


def _name_other(path: Path, head: bytes) -> None:
    """Raise InputError with the name of a format that we do not read, where the content begins like it."""
    kind = next((name for magic, name in _OTHERS if head.startswith(magic)), None)
    if kind is not None:
        raise InputError(f"{path} is {kind}, which cannot be read; convert it to MRC.", path)


def _refuse_sections(path: Path, sections: int) -> None:
    if sections > 1:
        raise InputError(
            f"{path} holds {sections} sections, so it is a stack or a movie and not one micrograph; "
            "average a movie's frames first (motion correction), or save the sections as files of their own.",
            path,
        )


_PLACEHOLDER_SIDE = 3000  # a pixel size of exactly 1 Å on a whole detector frame is more often a default than a fact

LIST = "the STAR file"
"""What the list of micrographs is called as a source of pixel sizes."""


@dataclass(frozen=True, eq=False)
class Micrograph:
    """A micrograph as the file has it.

    Attributes
    ----------
    data : (y, x) array
        Native dtype of the file; uint8 where MRC bytes are unsigned.
    pixel_size : float or None
        Å; None where neither the file nor the caller says it.
    pixel_size_source : str
        "given", "the STAR file", "MRC header", "TIFF resolution tag", or "" where there is none.
    path : Path
        The file.
    warnings : tuple of str
        Sentences for the user about what looks wrong but does not stop the work.
    """

    data: NDArray[Any]
    pixel_size: float | None
    pixel_size_source: str
    path: Path
    warnings: tuple[str, ...] = ()


def read_micrograph(path: Path | str, pixel_size: float | None = None, *, listed: float | None = None) -> Micrograph:
    """Read MRC (modes 0 1 2 6 12 101), MRC.gz, MRC.bz2 or TIFF.

    Parameters
    ----------
    path : Path or str
        The file; a 3D file with one section is fine.
    pixel_size : float, optional
        Å; it wins over the list and the header, whose nonsense is then ignored.
    listed : float, optional
        Å, of the STAR file that lists the micrograph; it wins over the header, with a warning where they differ by more
        than 1 %.

    Raises
    ------
    InputError
        The file is missing, unreadable, truncated, of another format, or a stack;
        or its pixel size is nonsense and none is given.

    Examples
    --------
    >>> micrograph = gp.read_micrograph("micrograph_001.mrc")
    >>> micrograph.data.shape, micrograph.data.dtype, micrograph.pixel_size
    ((1024, 1024), dtype('int8'), 4.4)
    """
    image = open_image(path, single=True)
    data = image.data[0]
    if pixel_size is not None:
        return Micrograph(data, float(pixel_size), "given", image.path, image.notes)
    if listed is not None:
        value, notes = listed_pixel_size(image, listed, LIST)
        source = "" if value is None else LIST if value == listed else image.source
        return Micrograph(data, value, source, image.path, (*image.notes, *notes))
    value = header_pixel_size(image)
    if value is None:
        return Micrograph(data, None, "", image.path, image.notes)
    warnings = image.notes
    if value == 1.0 and min(data.shape) >= _PLACEHOLDER_SIDE:
        warnings += (
            f"{image.path}: the {image.source} says 1.0 Å, which is often a placeholder; "
            "check it, and give --pixel-size in Å if it is wrong.",
        )
    return Micrograph(data, value, image.source, image.path, warnings)


def require_pixel_size(micrograph: Micrograph) -> float:
    """Return the pixel size in Å.

    Raises
    ------
    InputError
        There is none.
    """
    if micrograph.pixel_size is None:
        raise InputError(f"{micrograph.path} has no pixel size in its header; give --pixel-size in Å.", micrograph.path)
    return micrograph.pixel_size


def as_float32(
    micrograph: Micrograph, bad_pixels: Literal["error", "replace"] = "error"
) -> tuple[NDArray[np.float32], int]:
    """Return the pixels in single precision, and check that there is something to search.

    Parameters
    ----------
    micrograph : Micrograph
        Of any real dtype.
    bad_pixels : {"error", "replace"}
        What to do with NaN and infinite pixels; "replace" puts the median of the others there.

    Returns
    -------
    data : (y, x) float32
        C-contiguous, native byte order; read-only where these are the pixels of the file as they are.
    n_replaced : int
        How many pixels were replaced.

    Raises
    ------
    InputError
        Some pixels are NaN or infinite and may not be replaced, or all are; or every pixel has the same value.
    """
    path = micrograph.path
    with np.errstate(over="ignore"):  # float64 beyond single precision becomes infinite, which is counted below
        data: NDArray[np.float32] = np.ascontiguousarray(micrograph.data, np.float32)
    if np.may_share_memory(data, micrograph.data):
        data = data.view()
        data.setflags(write=False)
    n_bad = 0
    if micrograph.data.dtype.kind == "f":
        n_bad = data.size - sum(int(np.count_nonzero(np.isfinite(row))) for row in data)
        if n_bad == data.size:
            raise InputError(f"{path} has only NaN or infinite pixels; there is nothing to pick, leave it out.", path)
        if n_bad and bad_pixels == "error":
            pixels = "pixel" if n_bad == 1 else "pixels"
            raise InputError(
                f"{path} has {n_bad} NaN or infinite {pixels}; replace them or use --bad-pixels replace.", path
            )
        if n_bad:
            good = np.isfinite(data)
            data = np.where(good, data, np.median(data[good]))
    if (data[0] == data[0, 0]).all() and (data == data[0, 0]).all():
        raise InputError(f"{path} is constant: every pixel is {data.flat[0]:g}; there is nothing to pick.", path)
    return data, n_bad
