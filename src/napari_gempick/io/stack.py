"""Read templates, masks and 3D maps; `write_mrc` writes any of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.image import header_pixel_size, open_image
from napari_gempick.io.mrc import RawImage, write_mrc
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SECTIONS = re.compile(r"(?P<path>.+)\[(?P<out>\^?)(?P<list>[\d,\s-]+)\]")

__all__ = ["Stack", "read_map3d", "read_mask", "read_stack", "write_mrc"]

_MASK_TOLERANCE = 1e-6
_TEMPLATE_OPTION = "--template-pixel-size"


@dataclass(frozen=True, eq=False)
class Stack:
    """Templates or masks of equal size.

    Attributes
    ----------
    data : (n, y, x) float32
        C-contiguous; a single image has n = 1.
    pixel_size : float or None
        Å; None where neither the file nor the caller says it.
    path : Path
        The file.
    """

    data: NDArray[np.float32]
    pixel_size: float | None
    path: Path


def read_stack(path: Path | str, pixel_size: float | None = None) -> Stack:
    """Read the 2D templates of an MRC, MRCS or TIFF image or stack.

    Many stacks lack the header's stack flag, so a file counts as a 3D volume only when it is a cube, has the
    volume's space group (1) and is not called .mrcs.

    Parameters
    ----------
    path : Path or str
        The file; FILE[1,3,6-8] takes these sections of it alone, counted from 1, and FILE[^2,5] leaves some out.
    pixel_size : float, optional
        Å; it wins over the header, whose nonsense is then ignored.

    Raises
    ------
    InputError
        The file cannot be read, is a volume, lacks a section, has NaN or infinite pixels or a constant section,
        or its pixel size is nonsense and none is given.
    """
    stack = _read(path, pixel_size)
    low, high = stack.data.min(axis=(1, 2)), stack.data.max(axis=(1, 2))
    if (low == high).any():
        section = int(np.argmax(low == high))
        raise InputError(
            f"{path}: section {section + 1} is constant (every pixel is {low[section]:g}), which no template can be; "
            "remove that section, or leave it out by writing FILE[^NUMBER].",
            path,
        )
    return stack


def read_mask(path: Path | str, pixel_size: float | None = None) -> Stack:
    """Read one mask or a stack of masks with weights from 0 to 1; parameters as `read_stack`.

    Weights out of range by less than 1e-6 are clipped.

    Raises
    ------
    InputError
        As `read_stack`, but constant sections are fine; or weights lie outside 0..1, or a mask is zero everywhere.
    """
    stack = _read(path, pixel_size)
    low, high = float(stack.data.min()), float(stack.data.max())
    if low < -_MASK_TOLERANCE or high > 1 + _MASK_TOLERANCE:
        raise InputError(
            f"the mask {path} has values from {low:g} to {high:g}, but its weights must lie between 0 and 1; "
            "rescale it, or check that it is a mask.",
            path,
        )
    empty = stack.data.max(axis=(1, 2)) <= 0
    if empty.any():
        where = "" if len(stack.data) == 1 else f" in section {int(np.argmax(empty)) + 1}"
        raise InputError(f"the mask {path} is empty{where}: all its weights are 0; draw another one.", path)
    return Stack(np.clip(stack.data, 0, 1), stack.pixel_size, stack.path)


def read_map3d(path: Path | str, pixel_size: float | None = None) -> tuple[NDArray[np.float32], float | None]:
    """Read a 3D map.

    Parameters
    ----------
    path : Path or str
        The file; the axes of MRC/CCP4 maps with another axis order are put right.
    pixel_size : float, optional
        Å; it wins over the header, whose nonsense is then ignored.

    Returns
    -------
    data : (z, y, x) float32
        C-contiguous.
    pixel_size : float or None
        Å.

    Raises
    ------
    InputError
        The file cannot be read, is not 3D, has NaN or infinite voxels,
        or its pixel size is nonsense and none is given.
    """
    image = open_image(path)
    if image.data.shape[0] == 1:
        raise InputError(f"{path} is a 2D image, but a 3D map is needed; give the map.", path)
    return _finite(image), _pixel_size(image, pixel_size, axes=3)


def split_sections(text: Path | str) -> tuple[Path, str]:
    """Split FILE[1,3-5] into the file and what stands in the brackets, "" without any; a file of that name wins."""
    match = _SECTIONS.fullmatch(str(text))
    if match is None or Path(text).exists():
        return Path(text), ""
    return Path(match["path"]), match["out"] + match["list"]


def _chosen(path: Path, sections: str, count: int) -> list[int]:
    """Return the numbers, from 0, of the sections that a list from 1 names, in its order."""
    named: list[int] = []
    for part in sections.removeprefix("^").split(","):
        first, dash, last = part.strip().partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
            raise InputError(f"{path}[{sections}]: write sections as [1,3,6-8], or [^2,5] to leave some out.", path)
        named += range(int(first), min(int(last if dash else first), count + 1) + 1)
    if not named or min(named) < 1 or max(named) > count:
        raise InputError(f"{path}[{sections}]: the file has sections 1 to {count}; choose among them.", path)
    if sections.startswith("^"):
        left = [number for number in range(count) if number + 1 not in named]
        if not left:
            raise InputError(f"{path}[{sections}] leaves no section; keep at least one.", path)
        return left
    return [number - 1 for number in dict.fromkeys(named)]


def _read(path: Path | str, pixel_size: float | None) -> Stack:
    path, sections = split_sections(path)
    image = open_image(path)
    n, ny, nx = image.data.shape
    if image.volume and n == ny == nx > 1 and not _named_mrcs(image.path):
        raise InputError(
            f"{path} is a 3D map of {n}³ voxels, but templates and masks are 2D; project it first with "
            "`gempick templates project`, or rename it to .mrcs if it is a stack.",
            path,
        )
    if sections:
        image = replace(image, data=image.data[_chosen(path, sections, n)])
    return Stack(_finite(image), _pixel_size(image, pixel_size), image.path)


def _named_mrcs(path: Path) -> bool:
    return ".mrcs" in (suffix.lower() for suffix in path.suffixes[-2:])


def _pixel_size(image: RawImage, given: float | None, axes: int = 2) -> float | None:
    return header_pixel_size(image, option=_TEMPLATE_OPTION, axes=axes) if given is None else float(given)


def _finite(image: RawImage) -> NDArray[np.float32]:
    """Copy to float32 (z, y, x), C-contiguous, and refuse NaN and infinite pixels."""
    with np.errstate(over="ignore"):
        data: NDArray[np.float32] = np.array(image.data, dtype=np.float32, order="C")
    bad = [int(np.count_nonzero(~np.isfinite(section))) for section in data]
    if any(bad):
        section = int(np.argmax(np.array(bad) > 0))
        raise InputError(
            f"{image.path}: section {section + 1} has {bad[section]} NaN or infinite pixels; mend or remove it.",
            image.path,
        )
    return data
