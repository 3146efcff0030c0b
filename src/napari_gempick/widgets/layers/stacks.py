"""Shows the rotated templates and masks as layers, beside the micrograph, with sliders over psi and template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.inputs.views import choose_grid
from napari_gempick.model.geometry import Grid
from napari_gempick.widgets.layers.pictures import rotated_stacks

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from numpy.typing import NDArray

    from napari_gempick.widgets.state.controller import Controller


def stack_layers(
    name: str, images: NDArray[np.float32], masks: NDArray[np.float32], step: float, size: float
) -> list[tuple[NDArray[np.float32], dict[str, Any], str]]:
    """Return the Image layers of the search images of a view and of their masks, the masks first.

    Parameters
    ----------
    name : str
    images, masks : (section, psi, y, x) float32
        With one section, the layers have no axis for it.
    step : float
        Degrees between rotations; 0: they are not rotated.
    size : float
        nm per pixel.
    """
    layers = []
    low, high = np.percentile(images, (0.5, 99.5)).tolist()
    for kind, stack, limits in (("masks", masks, (0.0, 1.0)), ("templates", images, (low, high))):
        shown = stack[0] if stack.shape[0] == 1 else stack
        lead = shown.ndim - 3
        options = {
            "name": f"{name} {kind}",
            "scale": (*(1.0,) * lead, step or 1.0, size, size),
            "units": (*("pixel",) * lead, "degree" if step else "pixel", "nm", "nm"),
            "contrast_limits": limits,
        }
        layers.append((shown, options, "image"))
    return layers


def show_stacks(viewer: Viewer, controller: Controller) -> None:
    """Add two layers for each view: its search images and their masks, exactly as they are correlated."""
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
        return stacks, makers.index.angle_step, grid

    def show(made: Any) -> None:
        stacks, step, grid = made
        size = grid.map_pixel_size / 10
        height = sum(images.shape[-2] + 8 for images, _ in stacks.values())
        top = -height * size / 2 + grid.file_shape[0] * grid.pixel_size / 20
        for name, (images, masks) in stacks.items():
            width = images.shape[-1] * size
            for column, (data, options, _) in enumerate(stack_layers(name, images, masks, step, size), 1):
                if options["name"] in viewer.layers:
                    viewer.layers.remove(options["name"])
                lead = data.ndim - 2
                viewer.add_image(data, **options, translate=(*(0.0,) * lead, top, -(width + 2) * column))
            top += (images.shape[-2] + 8) * size
        viewer.reset_view()

    controller.background.do(work, show)
