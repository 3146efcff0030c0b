"""Sample data: simulated micrographs of a particle like keyhole limpet haemocyanin, made once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from napari_gempick.engine import simulate
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.simulation import VIEWS, make_simulate_settings
from napari_gempick.widgets.readers import image_reader

if TYPE_CHECKING:
    from pathlib import Path

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
