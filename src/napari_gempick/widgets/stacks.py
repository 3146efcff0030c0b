"""Shows the rotated templates and masks as layers, beside the micrograph, with sliders over psi and template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.job.inputs import choose_grid
from napari_gempick.model.geometry import Grid
from napari_gempick.widgets.pictures import rotated_stacks

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_gempick.widgets.controller import Controller


def show_stacks(viewer: Viewer, controller: Controller) -> None:
    """Add two layers for each view: its search images and their masks, exactly as they are correlated."""
    state, loaded = controller.state, controller.loaded

    def work() -> Any:
        settings = state.settings()
        if loaded is not None and loaded.image is not None and loaded.pixel_size is not None:
            grid = choose_grid(settings, loaded.image.shape, loaded.pixel_size)
        else:
            from napari_gempick.job.inputs import read_views

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
            for number, (kind, data) in enumerate((("masks", masks), ("templates", images))):
                title = f"{name} {kind}"
                if title in viewer.layers:
                    viewer.layers.remove(title)
                shown = data[0] if data.shape[0] == 1 else data
                lead = shown.ndim - 3
                viewer.add_image(
                    shown,
                    name=title,
                    scale=(*(1.0,) * lead, step or 1.0, size, size),
                    translate=(*(0.0,) * (lead + 1), top, -(width + 2) * (1 if number == 0 else 2)),
                    units=(*("pixel",) * lead, "degree" if step else "pixel", "nm", "nm"),
                    contrast_limits=(0, 1)
                    if kind == "masks"
                    else tuple(float(v) for v in np.percentile(images, (0.5, 99.5))),
                )
            top += (images.shape[-2] + 8) * size
        viewer.reset_view()

    controller.background.do(work, show)
