"""Small pictures of templates with the outlines of masks, cut-outs of picks, and layers of rotated templates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_dilation, zoom

from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import View, choose_grid, read_views
from napari_gempick.model.geometry import Extent, Grid
from napari_gempick.widgets.layers.layer_registry import UNIT
from napari_gempick.widgets.state.look import contrast_limits, rgba

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_gempick.model.settings import PickSettings
    from napari_gempick.widgets.layers.turns import Turns
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import State, ViewSpec


MOST_SECTIONS = 60
MOST_IMAGES = 720
"""Rotated templates that are shown as a stack."""


@dataclass(frozen=True, eq=False)
class ViewPictures:
    """What a view looks like.

    Attributes
    ----------
    pictures : tuple of (n, n, 3) uint8
        One for each template, at most MOST_SECTIONS.
    sections : int
        How many templates there are.
    view : View
        The templates and masks that were read.
    mask : (h, w) float32
        Weights of the first template's mask at psi 0, in its frame.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    sections: int
    view: View
    mask: NDArray[np.float32]


def draw_view(state: State, spec: ViewSpec, side: int) -> ViewPictures:
    """Return the templates of a view under their masks, psi 0.

    Raises
    ------
    GempickError
        A file cannot be used.
    """
    settings = replace(state, views=(spec,)).settings(
        **{"angle_step": 0, "threshold": ["0.4"], "grid": "full", "contrast": "same", "in_plane_symmetry": ()},
        **dict.fromkeys(("lowpass", "highpass", "ctf")),
        phase_flipped="no",
    )
    (view,) = read_views(settings)
    pictures, masks = [], []
    for number in range(min(len(view.templates), MOST_SECTIONS)):
        weights = None if view.mask_weights is None else view.mask_weights[number % len(view.mask_weights)][None]
        one = replace(view, templates=(view.templates[number],), names=(view.names[number],), mask_weights=weights)
        bank = BankMaker(settings, [one])(Grid(one.templates[0].shape, one.pixel_size))
        masks.append(_framed(bank.mask(0), bank.extent, one.templates[0].shape))
        pictures.append(outlined(one.templates[0], masks[-1], rgba(spec.colour), side))
    return ViewPictures(tuple(pictures), len(view.templates), view, masks[0])


def _framed(weights: NDArray[np.float32], extent: Extent, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return weights given in a box about the centre in a frame of a template's shape."""
    height, width = int(shape[0]), int(shape[1])
    pad = max(extent.top, extent.left, extent.bottom, extent.right, height, width)
    frame = np.zeros((height + 2 * pad, width + 2 * pad), np.float32)
    y, x = height // 2 + pad - extent.top, width // 2 + pad - extent.left
    frame[y : y + weights.shape[0], x : x + weights.shape[1]] = weights
    return frame[pad : pad + height, pad : pad + width]


def grey(image: NDArray[Any], side: int, limits: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Return an image as a grey picture of `side` pixels."""
    low, high = limits or contrast_limits(image)
    scaled = zoom(
        image.astype(np.float32),
        (side / image.shape[0], side / image.shape[1]),
        order=1,
        grid_mode=True,
        mode="nearest",
    )
    values = np.clip((scaled - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return np.repeat(values[..., None], 3, axis=2)


def outlined(image: NDArray[Any], mask: NDArray[Any], colour: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """Return an image as a grey picture with the outline of its mask in colour."""
    picture = grey(image, side)
    inside = zoom(mask, (side / mask.shape[0], side / mask.shape[1]), order=1, grid_mode=True, mode="nearest") >= 0.5
    edge = binary_dilation(inside) & ~inside
    if inside.all() or not edge.any():
        edge = np.zeros_like(inside)
        edge[[0, -1]] = edge[:, [0, -1]] = True
    picture[edge] = (colour[:3] * 255).astype(np.uint8)
    return picture


def cut_out(
    image: NDArray[Any], x: float, y: float, size: int, side: int, limits: tuple[float, float]
) -> NDArray[np.uint8]:
    """Return the square of `size` px about (x, y), filled with grey beyond the micrograph, as a picture."""
    half = size // 2
    row, column = round(y) - half, round(x) - half
    ny, nx = image.shape
    box = np.full((size, size), np.float32(sum(limits) / 2))
    top, left = max(0, row), max(0, column)
    bottom, right = min(ny, row + size), min(nx, column + size)
    if bottom > top and right > left:
        box[top - row : bottom - row, left - column : right - column] = image[top:bottom, left:right]
    return grey(box, side, limits)


def turned(
    template: NDArray[np.float32], pixel_size: float, psi: float, extent_angstrom: float, side: int
) -> NDArray[np.uint8]:
    """Return a template turned by psi degrees, in a square with a side in Å, as a picture."""
    half = side // 2
    spacing = extent_angstrom / side
    image = ContinuousImage(template, pixel_size, finest=spacing)
    box = Extent(half, half, side - half - 1, side - half - 1)
    return grey(image.sample(psi, spacing, box), side, contrast_limits(template))


def rotated_stacks(
    settings: PickSettings, grid: Grid, views: list[View] | None = None
) -> tuple[dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]], BankMaker]:
    """Return the rotated templates and masks of each view as they are correlated: (section, psi, y, x) float32.

    The views are those that the settings name, unless they are given.

    Raises
    ------
    GempickError
        Templates or masks cannot be used.
    """
    makers = BankMaker(settings, read_views(settings) if views is None else views)
    bank, index = makers(grid), makers.index
    stacks = {}
    first = 0
    for name, sections in zip(index.view_names, index.sections_per_view, strict=True):
        shown = max(1, min(sections, MOST_IMAGES // index.n_rotations))
        ks = first * index.n_rotations + np.arange(shown * index.n_rotations)
        ks = ks[:MOST_IMAGES] if shown == 1 else ks
        box = bank.extent.box
        shape = (shown, len(ks) // shown, *box)
        images = np.stack([bank.template(int(k)) for k in ks]).reshape(shape)
        masks = np.stack([bank.mask(int(bank.group_of[k])) for k in ks]).reshape(shape)
        stacks[name] = images, masks
        first += sections
    return stacks, makers


def stack_layers(
    name: str, images: NDArray[np.float32], masks: NDArray[np.float32], step: float, size: float
) -> list[tuple[NDArray[np.float32], dict[str, Any], str]]:
    """Return the Image layers of the rotated templates of a view and of their masks, the masks first.

    Parameters
    ----------
    images, masks : (section, psi, y, x) float32
        With one section, the layers have no axis for it.
    step : float
        Degrees between rotations; 0: they are not rotated.
    size : float
        Å per pixel.
    """
    layers = []
    low, high = np.percentile(images, (0.5, 99.5)).tolist()
    for kind, stack, limits in (("masks", masks, (0.0, 1.0)), ("templates", images, (low, high))):
        shown = stack[0] if stack.shape[0] == 1 else stack
        lead = shown.ndim - 3
        options = {
            "name": f"{name} {kind}",
            "scale": (*(1.0,) * lead, step or 1.0, size, size),
            "units": (*("pixel",) * lead, "degree" if step else "pixel", UNIT, UNIT),
            "contrast_limits": limits,
        }
        layers.append((shown, options, "image"))
    return layers


def show_stacks(viewer: Viewer, controller: Controller, turns: Turns) -> None:
    """Add two layers for each view: its rotated templates and their masks, exactly as they are correlated."""
    state, loaded = controller.state, controller.loaded

    def work() -> Any:
        settings = state.settings()
        if loaded is not None and loaded.image is not None and loaded.pixel_size is not None:
            grid = choose_grid(settings, loaded.image.shape, loaded.pixel_size)
        else:
            from napari_gempick.inputs.views import read_views

            view = read_views(settings)[0]
            grid = Grid(view.templates[0].shape, view.pixel_size)
        stacks, makers = rotated_stacks(settings, grid)
        size, found = grid.map_pixel_size, []
        height = sum(images.shape[-2] + 8 for images, _ in stacks.values())
        top = -height * size / 2 + grid.file_shape[0] * grid.pixel_size / 2
        for name, (images, masks) in stacks.items():
            width = images.shape[-1] * size
            layers = stack_layers(name, images, masks, makers.index.angle_step, size)
            for column, (data, options, _) in enumerate(layers, 1):
                lead = data.ndim - 2
                found.append((data, {**options, "translate": (*(0.0,) * lead, top, -(width + 20) * column)}))
            top += (images.shape[-2] + 8) * size
        return found

    def add(data: Any, options: dict[str, Any]) -> None:
        if options["name"] in viewer.layers:
            viewer.layers.remove(options["name"])
        viewer.add_image(data, **options)

    def show(made: Any) -> None:
        for data, options in made:
            turns.put(options["name"], partial(add, data, options))
        turns.put("all stacks", viewer.reset_view)

    controller.background.do(work, show)
