"""Functions of the manifest, also for scripts: templates from a map, rotated templates of a layer, sample data."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import numpy as np
from magicgui import magic_factory
from napari.layers import Image  # noqa: TC002  (magicgui reads the annotation)
from napari.qt.threading import FunctionWorker, create_worker
from napari.types import LayerDataTuple
from platformdirs import user_cache_path

from napari_gempick.inputs.views import view_of
from napari_gempick.io.names import split_suffix
from napari_gempick.io.stack import read_map, read_stack, write_mrc
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.geometry import Grid
from napari_gempick.model.settings import make_settings
from napari_gempick.simulation import simulate
from napari_gempick.simulation.settings import VIEWS, make_simulate_settings
from napari_gempick.widgets.layers.layer_registry import UNIT
from napari_gempick.widgets.layers.pictures import MOST_IMAGES, rotated_stacks, stack_layers
from napari_gempick.widgets.npe2.files import image_reader
from napari_gempick.workflows.templates import project_files, project_map

if TYPE_CHECKING:
    from collections.abc import Callable


_Size = Annotated[float, {"min": 1.0, "max": 9999.0, "step": 5.0}]
_Spacing = Annotated[Optional[float], {"min": 0.0, "max": 100.0, "step": 0.1, "nullable": True}]  # noqa: UP045
_Map = Annotated[Path, {"mode": "r", "filter": "Maps (*.mrc *.map *.ccp4)"}]
_Output = Annotated[Optional[Path], {"mode": "w", "filter": "Stacks (*.mrcs)", "nullable": True}]  # noqa: UP045
_Step = Annotated[float, {"min": 0.5, "max": 90.0, "step": 1.0}]


def template_stack(
    map_file: _Map,
    symmetry: str = "C1",
    angle_step: _Step = 15.0,
    pixel_size: _Spacing = None,
    output: _Output = None,
) -> list[LayerDataTuple]:
    """Project a 3D map from all sides into a stack of templates.

    Parameters
    ----------
    map_file : Path
        MRC or CCP4, with its pixel size in the header.
    symmetry : str
        C1, C4, D2, ..., T, O, I: only the asymmetric unit is sampled.
    angle_step : float
        Mean distance of neighbouring views, degrees.
    pixel_size : float, optional
        Of the templates, Å; default that of the map.
    output : Path, optional
        OUT.mrcs; the masks and a STAR file with the angles are written beside it.

    Returns
    -------
    list with one layer
        (n, y, x) float32, its options, and "image".

    Raises
    ------
    GempickError
        The map or the symmetry cannot be used, or a file already exists.
    """
    options = {"symmetry": symmetry, "angle_step": angle_step, "template_pixel_size": pixel_size or None}
    if output is not None:
        project_files(Path(map_file), Path(output), **options)
        stack = read_stack(output)
        images, spacing = np.asarray(stack.data), stack.pixel_size
    else:
        volume, size = read_map(Path(map_file), None)
        if size is None:
            raise InputError(f"{map_file} has no pixel size in its header; write it there.", Path(map_file))
        made = project_map(volume, size, **options)
        images, spacing = made.images, made.pixel_size
    name = f"{split_suffix(Path(map_file).name)[0]} projections"
    return [_stack(images, name, float(spacing or 1.0), output)]


def rotated_stack(
    template: Image,
    mask: Literal["auto", "circle", "ellipse", "rectangle"] = "auto",
    size_x: _Size = 200.0,
    size_y: _Size = 200.0,
    angle_step: _Step = 15.0,
    pixel_size: _Spacing = None,
) -> list[LayerDataTuple]:
    """Rotate the templates of a layer and their masks, as the search correlates them.

    Parameters
    ----------
    template : Image
        A template (y, x) or a stack of them (n, y, x).
    mask : {"auto", "circle", "ellipse", "rectangle"}
        The outline of the templates, or a shape.
    size_x, size_y : float
        Of the shape at psi 0, Å; a circle's diameter is `size_x`.
    angle_step : float
        Degrees.
    pixel_size : float, optional
        Of the layer, Å; default that of its file, else its scale; without a unit of length that is in Å.

    Returns
    -------
    list with two layers
        The masks and the templates, (psi, y, x) or (n, psi, y, x) float32, each with its options and "image".

    Raises
    ------
    GempickError
        The templates or the mask cannot be used, or there would be more than 720 rotated templates.
    """
    images = np.asarray(template.data, np.float32)
    images = images[None] if images.ndim == 2 else images
    known = template.metadata.get("gempick", {}).get("pixel_size")
    spacing = float(pixel_size or known or _spacing_of(template))
    shape = {"auto": "auto", "circle": f"circle:{size_x:g}"}.get(mask, f"{mask}:{size_x:g}x{size_y:g}")
    settings = make_settings(
        {"pixel_size": spacing, "template_pixel_size": spacing, "angle_step": angle_step, "mask": (shape,)}
    )
    rows = [(image, f"template {number + 1} of {template.name}", spacing) for number, image in enumerate(images)]
    count = len(rows) * int(np.ceil(360 / angle_step))
    if count > MOST_IMAGES:
        raise SettingsError(
            f"{template.name} would have {count} rotated templates; take fewer templates or a larger angle step, so "
            f"that there are at most {MOST_IMAGES}."
        )
    grid = Grid((images.shape[1], images.shape[2]), spacing)
    made, _ = rotated_stacks(settings, grid, [view_of(template.name, rows, shape, settings)])
    ((turned, masks),) = made.values()
    return [LayerDataTuple(layer) for layer in stack_layers(template.name, turned, masks, angle_step, spacing)]


def _spacing_of(layer: Image) -> float:
    """Return the pixel size of a layer, Å."""
    unit = layer.units[-1]
    return float(layer.scale[-1] * (1 * unit).to(UNIT).magnitude if unit.is_compatible_with(UNIT) else layer.scale[-1])


def _stack(images: Any, name: str, spacing: float, path: Path | None) -> LayerDataTuple:
    options = {"name": name, "scale": (1.0, spacing, spacing), "units": ("pixel", UNIT, UNIT)}
    options["metadata"] = {"gempick": {"pixel_size": spacing, "path": None if path is None else str(path)}}
    return LayerDataTuple((images, options, "image"))


def _in_background(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function so that its widget runs it on a thread, and napari adds the layers when they are there."""

    @functools.wraps(function)
    def start(*args: Any, **kwargs: Any) -> Any:
        return create_worker(function, *args, **kwargs, _start_thread=True)

    signature = inspect.signature(function, eval_str=True)
    start.__signature__ = signature.replace(return_annotation=FunctionWorker[list[LayerDataTuple]])  # type: ignore[attr-defined]
    start.__annotations__ = {name: one.annotation for name, one in signature.parameters.items()}
    start.__annotations__["return"] = FunctionWorker[list[LayerDataTuple]]
    del start.__wrapped__  # type: ignore[attr-defined]
    return start


template_stack_widget = magic_factory(_in_background(template_stack), call_button="Project")
rotated_stack_widget = magic_factory(_in_background(rotated_stack), call_button="Rotate")


_SETTINGS = {
    "count": 2,
    "size": "1024",
    "particles": 36,
    "seed": 1,
    "voltage": 120,
    "cs": 2,
    "defocus": 2.2,
    "snr": 0.6,
    "contaminants": 9,
    "dtype": "int8",
}


@dataclass(frozen=True)
class Sample:
    """Files of the sample data: micrographs, and the template of each view."""

    micrographs: tuple[Path, ...]
    templates: dict[str, Path]


def sample_files() -> Sample:
    """Return the sample data, made where they are missing; takes a few seconds then."""
    folder = user_cache_path("napari-gempick") / "sample"
    settings = make_simulate_settings(_SETTINGS)
    micrographs = []
    for number in range(settings.count):
        path = folder / f"klh_like_{number + 1}.mrc"
        if not path.exists():
            levels, _, _ = simulate.grey_levels(simulate.simulate_micrograph(settings, number).image)
            write_mrc(path, levels, settings.pixel_size)
        micrographs.append(path)
    templates = {}
    for view in VIEWS:
        path = templates[view] = folder / f"template_{view}.mrc"
        if not path.exists():
            write_mrc(path, simulate.template(view, settings), settings.template_spacing)
    return Sample(tuple(micrographs), templates)


def klh_like() -> list[tuple[Any, dict[str, Any], str]]:
    """Return the sample micrographs as layers (npe2 sample data)."""
    layers = []
    for path in sample_files().micrographs:
        reader = image_reader(str(path))
        assert reader is not None
        layers += reader(str(path))
    return layers
