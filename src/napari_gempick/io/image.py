"""Open an image file of any kind we read, and judge the pixel size that its header gives."""

from __future__ import annotations

import bz2
import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_gempick.io.mrc import HEADER_BYTES, RawImage, mrc_from_bytes, open_mrc
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALLEST_PIXEL, LARGEST_PIXEL = 0.1, 50.0  # Å; outside no micrograph, template or map is plausible
_ANISOTROPY = 0.01
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_GZIP, _BZIP2 = b"\x1f\x8b\x08", b"BZh"
_UNITS = {  # Å
    "pm": 0.01,
    "Å": 1.0,
    "å": 1.0,
    "a": 1.0,
    "angstrom": 1.0,
    "angstroms": 1.0,
    "nm": 10.0,
    "um": 1e4,
    "µm": 1e4,
    "μm": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "mm": 1e7,
    "cm": 1e8,
    "inch": 2.54e8,
}
_RESOLUTION_UNITS = {2: "inch", 3: "cm"}


def open_image(path: Path | str, *, single: bool = False) -> RawImage:
    """Open MRC, MRC.gz, MRC.bz2 or TIFF; what it is, is read from the content, not from the name.

    Parameters
    ----------
    path : Path or str
        The file.
    single : bool
        Refuse a file with more than one section.

    Returns
    -------
    RawImage
        Data (z, y, x) in the file's own dtype; uncompressed files are memory-mapped.

    Raises
    ------
    InputError
        The file is missing, unreadable, empty, truncated, corrupt, of another format, complex or in colour,
        or holds several sections where one is wanted.
    """
    path = Path(path)
    head, size = _head(path)
    if head[:4] in _TIFF:
        return _open_tiff(path, single)
    compressed = head.startswith((_GZIP, _BZIP2))
    with readable(path):
        image = mrc_from_bytes(path, _decompress(path)) if compressed else open_mrc(path, head, size)
    if single:
        _refuse_sections(path, image.data.shape[0])
    return image


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
        raise InputError(f"{image.path}: the {image.source} gives a pixel size of {shown} Å; {remedy}.", image.path)
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


def _decompress(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else bz2.decompress(content)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise InputError(
            f"{path} cannot be decompressed, it is truncated or corrupt ({error}); copy it again.", path
        ) from error


def _refuse_sections(path: Path, sections: int) -> None:
    if sections > 1:
        raise InputError(
            f"{path} holds {sections} sections, so it is a stack or a movie and not one micrograph; "
            "average a movie's frames first (motion correction), or save the sections as files of their own.",
            path,
        )


def _open_tiff(path: Path, single: bool) -> RawImage:
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            shape = tuple(int(length) for length in series.shape if length != 1)
            colour = series.axes.endswith("S")  # "SYX" is how tifffile writes three sections unless told otherwise
            if colour or series.dtype.kind not in "biuf" or len(shape) not in (2, 3):
                raise InputError(
                    f"{path} is not a grey-scale image or a stack of them (shape {series.shape}, {series.dtype}); "
                    "convert it to a grey-scale TIFF or MRC.",
                    path,
                )
            if single and len(shape) == 3:
                _refuse_sections(path, shape[0])
            x, y = _tiff_spacing(tiff)
            data = _tiff_data(path, series)
    except InputError:
        raise
    except Exception as error:  # a damaged TIFF makes tifffile raise nearly anything
        if "imagecodecs" in str(error):
            raise InputError(
                f"{path} is compressed in a way that needs another package (LZW, for example); "
                "run `pip install imagecodecs`, or save it uncompressed.",
                path,
            ) from error
        raise InputError(f"{path} is a TIFF file that cannot be decoded ({error}); copy it again.", path) from error
    return RawImage(data.reshape(-1, *shape[-2:]), (x, y, 0.0), "TIFF resolution tag", False, path)


def _tiff_data(path: Path, series: Any) -> NDArray[Any]:
    if series.dataoffset is None or not series.keyframe.is_memmappable:
        return np.asarray(series.asarray())
    dtype = series.dtype.newbyteorder(series.keyframe.parent.byteorder)
    return np.memmap(path, dtype, mode="r", offset=series.dataoffset, shape=series.shape)


def _tiff_spacing(tiff: Any) -> tuple[float, float]:
    """Return the pixel size in Å along x and y, (0, 0) where the tags say nothing that could be one.

    72 dots an inch and the like are what programs write that know nothing, so an implausible value is not an error.
    """
    tags = tiff.pages[0].tags
    unit = _RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", default=1)), "")
    if tiff.imagej_metadata:
        unit = str(tiff.imagej_metadata.get("unit", unit)).replace("\\u00B5", "µ").strip().lower()
    values = []
    for name in ("XResolution", "YResolution"):
        dots, units = tags.valueof(name, default=(0, 0))
        value = _UNITS.get(unit, 0.0) * units / dots if dots else 0.0
        values.append(float(f"{value:.6g}"))
    plausible = all(SMALLEST_PIXEL <= value <= LARGEST_PIXEL for value in values)
    return (values[0], values[1]) if plausible else (0.0, 0.0)
