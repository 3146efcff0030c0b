"""Read a micrograph: one 2D image with a pixel size that can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_gempick.io.images.image import header_pixel_size, listed_pixel_size, open_image
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

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
    """Copy the pixels to single precision and check that there is something to search.

    Parameters
    ----------
    micrograph : Micrograph
        Of any real dtype.
    bad_pixels : {"error", "replace"}
        What to do with NaN and infinite pixels; "replace" puts the median of the others there.

    Returns
    -------
    data : (y, x) float32
        C-contiguous, native byte order, a new array.
    n_replaced : int
        How many pixels were replaced.

    Raises
    ------
    InputError
        Some pixels are NaN or infinite and may not be replaced, or all are; or every pixel has the same value.
    """
    path = micrograph.path
    with np.errstate(over="ignore"):  # float64 beyond single precision becomes infinite, which is counted below
        data: NDArray[np.float32] = np.array(micrograph.data, dtype=np.float32, order="C")
    n_bad = 0
    if micrograph.data.dtype.kind == "f":
        bad = ~np.isfinite(data)
        n_bad = int(np.count_nonzero(bad))
        if n_bad == data.size:
            raise InputError(f"{path} has only NaN or infinite pixels; there is nothing to pick, leave it out.", path)
        if n_bad and bad_pixels == "error":
            pixels = "pixel" if n_bad == 1 else "pixels"
            raise InputError(
                f"{path} has {n_bad} NaN or infinite {pixels}; replace them or use --bad-pixels replace.", path
            )
        if n_bad:
            data[bad] = np.median(data[~bad])
    if data.min() == data.max():
        raise InputError(f"{path} is constant: every pixel is {data.flat[0]:g}; there is nothing to pick.", path)
    return data, n_bad
