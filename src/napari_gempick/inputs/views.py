"""From settings to what the engine needs: views with templates and masks, grids and images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.templates.masks import parse_shape
from napari_gempick.io.images.micrograph import (
    as_float32,
    header_pixel_size,
    open_image,
    read_micrograph,
    require_pixel_size,
)
from napari_gempick.io.names import split_suffix
from napari_gempick.io.stack import AS_IN_MICROGRAPHS, PROTEIN_BRIGHT, read_mask, read_stack, split_sections
from napari_gempick.model.errors import GempickError, InputError, SettingsError
from napari_gempick.model.geometry import Grid, coarsest_ratio
from napari_gempick.model.values import Named, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.io.stack import Stack
    from napari_gempick.model.settings import PickSettings


@dataclass(frozen=True, eq=False)
class View:
    """A named view: its templates, and the mask of each (one for all, or as many).

    Attributes
    ----------
    templates : tuple of (h, w) float32
    names : tuple of str
        For messages, one for each template.
    pixel_size : float
        Å.
    mask : str
        A shape, `auto`, or `file` with `mask_weights`.
    mask_weights : (n, h, w) float32, optional
        n = 1 or the number of templates.
    images : tuple of dict
        Where each template comes from, for run.json; empty for all sections of one file.
    notes : tuple of str
        Sentences for the user about how the files were read.
    """

    name: str
    templates: tuple[NDArray[np.float32], ...]
    names: tuple[str, ...]
    pixel_size: float
    mask: str = "auto"
    mask_weights: NDArray[np.float32] | None = None
    images: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def files_of_views(settings: PickSettings) -> dict[str, list[str]]:
    """Return the template files of each view, with their sections; a view without a name is called after its file."""
    files: dict[str, list[str]] = {}
    for text in settings.templates:
        name, path = Named.read(text)
        file = str(split_sections(path)[0]).replace("\\", "/").rsplit("/", 1)[-1]  # also of a run under Windows
        files.setdefault(name or split_suffix(file)[0], []).append(path)
    return files


def read_views(settings: PickSettings) -> list[View]:
    """Read the template and mask files that the settings name.

    Raises
    ------
    SettingsError
        No templates, or a mask for a view that there is not.
    InputError
        A file cannot be used, or no pixel size is known.
    """
    if not settings.templates:
        raise SettingsError("There are no templates; give at least one with --templates [NAME=]FILE.")
    files = files_of_views(settings)
    found = {name: [_stack(path, settings) for path in paths] for name, paths in files.items()}
    views = []
    for (name, stacks), mask in zip(found.items(), settings.masks.of(found), strict=True):
        sizes = {stack.pixel_size for stack in stacks if stack.pixel_size is not None}
        if len(sizes) > 1:
            raise InputError(
                f"The templates of view {name!r} have different pixel sizes "
                f"({', '.join(f'{size:g}' for size in sorted(sizes))} Å); "
                "give them different names or --template-pixel-size."
            )
        pairs = [pair for stack in stacks for pair in zip(stack.data, stack.names, strict=True)]
        rows = [(image, label, *sizes) for image, label in pairs]
        firsts = np.cumsum([0, *(stack.listed for stack in stacks)]).tolist()
        kept = [first + place for first, stack in zip(firsts, stacks, strict=False) for place in stack.kept]
        view = view_of(name, rows, mask, settings, kept=(kept, firsts[-1]))
        images = (
            tuple(one for stack in stacks for one in stack.record) if any(stack.is_part for stack in stacks) else ()
        )
        views.append(replace(view, images=images, notes=tuple(note for stack in stacks for note in stack.notes)))
    return views


def _stack(path: str, settings: PickSettings) -> Stack:
    stack = read_stack(path, settings.template_pixel_size)
    if stack.pixel_size is None:
        raise InputError(f"{path} has no pixel size in its header; give --template-pixel-size in Å.", path)
    note = _contrast_note(path, stack.contrast, settings)
    return replace(stack, notes=(*stack.notes, note)) if note else stack


def _contrast_note(path: str, contrast: str, settings: PickSettings) -> str:
    """Return a sentence for the user where the templates' header contradicts the settings, else ""."""
    says = f"{path} has the {AS_IN_MICROGRAPHS}, as its header says"
    if settings.ctf is not None:
        remedy = "make them with `gempick templates project`, without --invert"
        return f"{says}, but --ctf needs protein-bright templates; {remedy}." if contrast == AS_IN_MICROGRAPHS else ""
    if settings.contrast == "opposite":
        return f"{says}; omit --contrast opposite." if contrast == AS_IN_MICROGRAPHS else ""
    if contrast == PROTEIN_BRIGHT:
        return (
            f"{path} is protein-bright, as its header says; give --contrast opposite unless the particles of the "
            "micrographs are bright too, as in negative stain."
        )
    return ""


def view_of(
    name: str,
    rows: Sequence[tuple[NDArray[np.float32], str, float]],
    mask: str,
    settings: PickSettings,
    weights: NDArray[np.float32] | None = None,
    *,
    kept: tuple[Sequence[int], int] | None = None,
) -> View:
    """Return a view of templates (image, name for messages, pixel size) under a mask.

    Parameters
    ----------
    mask : str
        A shape, `auto`, or a file; not used when `weights` are given.
    weights : (h, w) or (n, h, w) float32, optional
        The mask, one for all templates or one for each.
    kept : (sequence of int, int), optional
        See io.stack.read_mask.

    Raises
    ------
    InputError
        The mask does not fit the templates.
    """
    images, names, sizes = zip(*rows, strict=True)
    source = mask
    if weights is not None:
        weights, source = weights.reshape(-1, *weights.shape[-2:]), "the mask"
    elif mask.lower() == "auto":
        mask = "auto" if settings.diameter is None else f"circle:{settings.diameter:g}"
    elif parse_shape(mask) is None:
        weights = read_mask(mask, sizes[0], kept=kept).data
    if weights is None:
        return View(name, images, names, sizes[0], mask)
    if len(weights) not in (1, len(images)):
        raise InputError(
            f"{source} has {len(weights)} masks for {len(images)} templates of view {name!r}; give one, or one each."
        )
    for image, which in zip(images, names, strict=True):
        if image.shape != weights.shape[1:]:
            raise InputError(
                f"{source} is {weights.shape[2]} x {weights.shape[1]} pixels but {which} is {image.shape[1]} x "
                f"{image.shape[0]}; give a mask of the template's size."
            )
    return View(name, images, names, sizes[0], "file", weights)


def choose_grid(settings: PickSettings, shape: tuple[int, int], pixel_size: float) -> Grid:
    """Return the grid to search a micrograph of `shape` (ny, nx) on."""
    return Grid(shape, pixel_size, settings.ratio or coarsest_ratio(settings.lowpass, pixel_size))


def read_image(
    path: Path, settings: PickSettings, listed: float | None = None
) -> tuple[NDArray[np.float32], Grid, tuple[str, ...], NDArray[Any]]:
    """Read one micrograph: pixels (ny, nx), the grid to search, notes for the user, and the pixels as in the file.

    Errors as io.images.micrograph.
    """
    micrograph = read_micrograph(path, settings.pixel_size, listed=listed)
    pixel_size = require_pixel_size(micrograph)
    image, replaced = as_float32(micrograph, settings.bad_pixels)
    notes = micrograph.warnings
    if replaced:
        were = "was" if replaced == 1 else "were"
        notes = (*notes, f"{counted(replaced, 'NaN or infinite pixel')} {were} replaced by the median.")
    shape = (int(image.shape[0]), int(image.shape[1]))
    return image, choose_grid(settings, shape, pixel_size), notes, micrograph.data


def pixel_size_hints(settings: PickSettings, micrographs: Sequence[MicrographFile]) -> list[str]:
    """Return a sentence where the header of the first micrograph says another pixel size than --pixel-size.

    A header of exactly 1 Å was most likely never filled in.
    """
    if settings.pixel_size is None or not micrographs:
        return []
    path = micrographs[0].path
    try:
        header = header_pixel_size(open_image(path, single=True))
    except GempickError:  # said when the micrograph is read
        return []
    if header is None or header == 1 or math.isclose(header, settings.pixel_size, rel_tol=0.01):
        return []
    return [
        f"{path}: the header gives a pixel size of {header:g} Å, but --pixel-size gives {settings.pixel_size:g} Å, "
        "which was taken; if the header is right, omit --pixel-size."
    ]
