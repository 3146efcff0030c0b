"""Read templates, masks and 3D maps; `write_mrc` writes any of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.images.micrograph import header_pixel_size, listed_pixel_size, open_image
from napari_gempick.io.images.mrc import RawImage, write_mrc
from napari_gempick.io.template_list import is_list, read_list, split_at
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_SECTIONS = re.compile(r"(?P<path>.+)\[(?P<out>\^?)(?P<list>[\d,\s-]+)\]")

__all__ = ["Stack", "read_map", "read_mask", "read_stack", "write_mrc"]

_LARGEST = 1e15  # sums of squares beyond overflow single precision
_MASK_TOLERANCE = 1e-6
PROTEIN_BRIGHT, AS_IN_MICROGRAPHS = "protein-bright", "contrast of the micrographs"
"""What the header of templates says about their contrast."""
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
    origins : tuple of (Path, int)
        Of each image: its file, and the section in it from 1.
    shares : tuple of float or None
        rlnClassDistribution of each image, where a list gives it.
    kept : tuple of int
        Which of the `listed` images these are, from 0: empty templates are left out.
    listed, in_file : int
        How many images were named, and how many the file has; 0 for a list of several files.
    notes : tuple of str
        Sentences for the user.
    contrast : str
        `PROTEIN_BRIGHT`, `AS_IN_MICROGRAPHS`, or "" where no header of this program says it.
    """

    data: NDArray[np.float32]
    pixel_size: float | None
    path: Path
    origins: tuple[tuple[Path, int], ...] = ()
    shares: tuple[float | None, ...] = ()
    kept: tuple[int, ...] = ()
    listed: int = 0
    in_file: int = 0
    notes: tuple[str, ...] = ()
    contrast: str = ""

    @property
    def record(self) -> list[dict[str, Any]]:
        """What is kept in run.json about each image: where it comes from, and its share of the particles."""
        return [
            {"image": f"{number:06d}@{path}", **({} if share is None else {"class_distribution": share})}
            for (path, number), share in zip(self.origins, self.shares, strict=True)
        ]

    @property
    def is_part(self) -> bool:
        """Whether these are other images than all sections of the file."""
        return self.listed != self.in_file or len(self.kept) != self.listed

    @property
    def names(self) -> tuple[str, ...]:
        """What each image is called in messages."""
        return tuple(f"section {number} of {path}" for path, number in self.origins)

    def take(self, places: Sequence[int]) -> Stack:
        """Return some of the images, by their place among these."""
        return replace(
            self,
            data=self.data[list(places)],
            origins=tuple(self.origins[place] for place in places),
            shares=tuple(self.shares[place] for place in places),
            kept=tuple(self.kept[place] for place in places),
        )


def read_stack(path: Path | str, pixel_size: float | None = None) -> Stack:
    """Read the 2D templates of an MRC, MRCS or TIFF image or stack, or of a list of RELION.

    Many stacks lack the header's stack flag, so a file counts as a 3D volume only when it is a cube, has the
    volume's space group (1) and is not called .mrcs. Empty sections, where every pixel has the same value, are left out
    with a note, as RELION's class averages have them.

    Parameters
    ----------
    path : Path or str
        The file; FILE[1,3,6-8] takes only these sections of it, counted from 1, FILE[^2,5] leaves some out, and
        3@FILE is the third one. A STAR file names its images with rlnReferenceImage or rlnImageName.
    pixel_size : float, optional
        Å; it wins over the header, whose nonsense is then ignored.

    Raises
    ------
    InputError
        The file cannot be read, is a volume, has fewer sections, has NaN or infinite pixels or nothing but empty
        sections, or its pixel size is nonsense and none is given.

    Examples
    --------
    >>> side = gp.read_stack("template_side.mrc")
    >>> side.data.shape, side.pixel_size
    ((1, 128, 128), 4.4)
    """
    stack = _read(path, pixel_size)
    low, high = stack.data.min(axis=(1, 2)), stack.data.max(axis=(1, 2))
    empty = np.flatnonzero(low == high)
    if len(empty) == len(stack.data):
        raise InputError(
            f"{path} is empty: every pixel of {'its image' if len(empty) == 1 else 'each image'} has the same value "
            f"({low[0]:g}), which no template can have; give another one.",
            stack.path,
        )
    if not len(empty):
        return stack
    left = stack.take(np.flatnonzero(low != high).tolist())
    return replace(left, notes=(*stack.notes, _left_out(path, [stack.origins[place] for place in empty])))


def _left_out(path: Path | str, origins: Sequence[tuple[Path, int]]) -> str:
    files = {file for file, _ in origins}
    names = [str(number) if len(files) == 1 else f"{number} of {file.name}" for file, number in origins]
    if len(names) == 1:
        return f"{path}: section {names[0]} is empty and was left out."
    return f"{path}: sections {', '.join(names)} are empty and were left out."


def read_mask(
    path: Path | str, pixel_size: float | None = None, *, kept: tuple[Sequence[int], int] | None = None
) -> Stack:
    """Read one mask or a stack of masks with weights from 0 to 1; parameters as `read_stack`.

    Weights out of range by less than 1e-6 are clipped. `kept` says which templates are left (from 0) of how many, where
    empty ones were left out; of that many masks only theirs are returned.

    Raises
    ------
    InputError
        As `read_stack`, but constant sections are fine; or weights lie outside 0..1, or a mask is zero everywhere.
    """
    stack = _read(path, pixel_size)
    if kept is not None and len(stack.data) == kept[1] > len(kept[0]):
        stack = stack.take(kept[0])
    low, high = float(stack.data.min()), float(stack.data.max())
    if low < -_MASK_TOLERANCE or high > 1 + _MASK_TOLERANCE:
        raise InputError(
            f"the mask {path} has values from {low:g} to {high:g}, but its weights must lie between 0 and 1; "
            "rescale it, or check that it is a mask.",
            path,
        )
    empty = stack.data.max(axis=(1, 2)) <= 0
    if empty.any():
        where = "" if len(stack.data) == 1 else f" in section {stack.origins[int(np.argmax(empty))][1]}"
        raise InputError(f"the mask {path} is empty{where}: all its weights are 0; draw another one.", path)
    return replace(stack, data=np.clip(stack.data, 0, 1))


def read_map(path: Path | str, pixel_size: float | None = None) -> tuple[NDArray[np.float32], float | None]:
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

    Examples
    --------
    >>> volume, pixel_size = gp.read_map("map.mrc")
    >>> volume.shape, pixel_size
    ((64, 64, 64), 8.8)
    """
    image = open_image(path)
    if image.data.shape[0] == 1:
        raise InputError(f"{path} is a 2D image, but a 3D map is needed; give the map.", path)
    return _finite(image, range(image.data.shape[0])), _pixel_size(image, pixel_size, axes=3)


def split_sections(text: Path | str) -> tuple[Path, str]:
    """Split FILE[1,3-5] or 3@FILE into the file and its sections, "" without any; a file of that name wins."""
    if Path(text).exists():
        return Path(text), ""
    name, section = split_at(str(text))
    if section is not None:
        return Path(name), str(section)
    match = _SECTIONS.fullmatch(str(text))
    return (Path(text), "") if match is None else (Path(match["path"]), match["out"] + match["list"])


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


def _read(text: Path | str, pixel_size: float | None) -> Stack:
    path, sections = split_sections(text)
    if is_list(path):
        return _read_list(path, sections, pixel_size)
    image = _flat(path)
    count = image.data.shape[0]
    chosen = _chosen(path, sections, count) if sections else list(range(count))
    data = _finite(image, chosen)
    origins = tuple((image.path, number + 1) for number in chosen)
    places = tuple(range(len(chosen)))
    size = _pixel_size(image, pixel_size)
    shares = (None,) * len(chosen)
    return Stack(data, size, image.path, origins, shares, places, len(chosen), count, image.notes, _contrast([image]))


def _read_list(star: Path, chosen: str, pixel_size: float | None) -> Stack:
    """Read the images that a STAR file lists, in its order."""
    rows = read_list(star)
    if chosen:
        rows = [rows[number] for number in _chosen(star, chosen, len(rows))]
    try:
        images = {path: _flat(path) for path in dict.fromkeys(row.path for row in rows)}
    except InputError as error:
        raise InputError(f"{star}: {error.sentence}", error.path) from error
    data, origins, sizes = [], [], []
    notes = [note for image in images.values() for note in image.notes]
    for row in rows:
        image = images[row.path]
        count = image.data.shape[0]
        if count > 1 if row.section is None else not 1 <= row.section <= count:
            raise InputError(
                f"{star} names {'no section' if row.section is None else f'section {row.section}'} of {row.path}, "
                f"which has sections 1 to {count}; write the list again.",
                star,
            )
        number = (row.section or 1) - 1
        data.append(_finite(image, [number])[0])
        origins.append((row.path, number + 1))
        size, note = _listed_size(star, image, row.pixel_size, pixel_size)
        sizes.append(size)
        notes += note
    for what, found in (("sizes", {one.shape for one in data}), ("pixel sizes", set(sizes))):
        if len(found) > 1:
            raise InputError(f"{star} lists images of different {what}; give them as views of their own.", star)
    shares = tuple(row.share for row in rows)
    places = tuple(range(len(rows)))
    unique = tuple(dict.fromkeys(notes))
    contrast = _contrast(images.values())
    return Stack(np.stack(data), sizes[0], star, tuple(origins), shares, places, len(rows), 0, unique, contrast)


def _contrast(images: Iterable[RawImage]) -> str:
    said = {image.remark for image in images}
    return said.pop() if len(said) == 1 and said <= {PROTEIN_BRIGHT, AS_IN_MICROGRAPHS} else ""


def _listed_size(
    star: Path, image: RawImage, listed: float | None, given: float | None
) -> tuple[float | None, tuple[str, ...]]:
    """Return the pixel size of an image in a list in Å: the one given, else the list's, else the header's."""
    if given is not None or listed is None:
        return _pixel_size(image, given), ()
    return listed_pixel_size(image, listed, str(star), _TEMPLATE_OPTION)


def _flat(path: Path) -> RawImage:
    """Open templates or masks, and refuse 3D maps."""
    image = open_image(path)
    n, ny, nx = image.data.shape
    if image.volume and n == ny == nx > 1 and not _named_mrcs(image.path):
        raise InputError(
            f"{path} is a 3D map of {n}³ voxels, but templates and masks are 2D; project it first with "
            "`gempick templates project`, or rename it to .mrcs if it is a stack.",
            path,
        )
    return image


def _named_mrcs(path: Path) -> bool:
    return ".mrcs" in (suffix.lower() for suffix in path.suffixes[-2:])


def _pixel_size(image: RawImage, given: float | None, axes: int = 2) -> float | None:
    return header_pixel_size(image, option=_TEMPLATE_OPTION, axes=axes) if given is None else float(given)


def _finite(image: RawImage, chosen: Sequence[int]) -> NDArray[np.float32]:
    """Copy sections to float32 (z, y, x), C-contiguous, and refuse NaN and infinite pixels."""
    data = np.empty((len(chosen), *image.data.shape[1:]), np.float32)
    for place, number in enumerate(chosen):
        with np.errstate(over="ignore"):
            data[place] = image.data[number]
        bad = int(np.count_nonzero(~np.isfinite(data[place])))
        if bad:
            raise InputError(
                f"{image.path}: section {number + 1} has {bad} NaN or infinite pixels; repair or remove it.", image.path
            )
        most = float(np.abs(data[place]).max())
        if most > _LARGEST:
            raise InputError(
                f"{image.path}: section {number + 1} has values up to {most:g}, which is impossible; fix or remove it.",
                image.path,
            )
    return data
