"""gempick simulate: micrographs with known particles, and the templates, masks and map that go with them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import ProgressPrinter, command_errors, reported, say
from napari_gempick.cli.options import given, json_option, settings_options
from napari_gempick.simulation.settings import VIEWS, SimulateSettings, make_simulate_settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_gempick.simulation.scene import Particle

SETTINGS_FILE = "simulation.json"
MAP_FILE = "map.mrc"
CTF_FILE = "micrographs_ctf.star"


@click.command("simulate")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the files."
)
@settings_options(model=SimulateSettings)
@click.option("--overwrite", is_flag=True, help="Replace files of an earlier simulation.")
@json_option
@command_errors
def command(output: Path, overwrite: bool, as_json: bool, **options: Any) -> None:
    """Make micrographs with known particles.

    The particle is a hollow cylinder like keyhole limpet haemocyanin: rectangles (side views) and rings (top views),
    dark on a noisy background. The folder gets micrograph_001.mrc and micrograph_001_truth.csv (x, y, view, psi)
    and so on, map.mrc (protein positive), template_side.mrc and template_top.mrc (the micrographs' contrast),
    mask_side.mrc and mask_top.mrc, micrographs_ctf.star (the defocus, as RELION lists it), and simulation.json with all
    settings.
    """
    from napari_gempick.io.atomic import refuse_existing, write_text
    from napari_gempick.io.stack import write_mrc
    from napari_gempick.simulation import simulate
    from napari_gempick.simulation.scene import klh

    settings = make_simulate_settings(given(options))
    names = [f"micrograph_{index + 1:03d}" for index in range(settings.count)]
    files = [f"{name}{end}" for name in names for end in (".mrc", "_truth.csv")]
    files += [f"{kind}_{view}.mrc" for kind in ("template", "mask") for view in VIEWS]
    files += [MAP_FILE, CTF_FILE, SETTINGS_FILE]
    refuse_existing((output / file for file in files), overwrite, "another folder")
    micrographs = []
    with ProgressPrinter("Simulating") as progress:
        for index, name in enumerate(names):
            micrographs.append(_write_micrograph(output, name, settings, index))
            progress.update((index + 1) / len(names))
    for view in VIEWS:
        write_mrc(output / f"template_{view}.mrc", simulate.template(view, settings), settings.template_spacing)
        write_mrc(output / f"mask_{view}.mrc", simulate.mask(view, settings), settings.template_spacing)
    _write_ctf(output / CTF_FILE, settings, micrographs)
    box = settings.box(settings.map_spacing)
    write_mrc(output / MAP_FILE, klh().density(box, settings.map_spacing), settings.map_spacing)
    record = {
        "settings": settings.model_dump(),
        "micrographs": micrographs,
        "templates": {view: f"template_{view}.mrc" for view in VIEWS},
        "masks": {view: f"mask_{view}.mrc" for view in VIEWS},
        "map": MAP_FILE,
    }
    write_text(output / SETTINGS_FILE, json.dumps(record, indent=2) + "\n")
    if not reported({"output": str(output), **record}, as_json):
        say(f"Micrographs with {settings.particles} particles each: {len(names)}, in {output}.")


def _write_micrograph(output: Path, name: str, settings: SimulateSettings, index: int) -> dict[str, Any]:
    """Simulate and write one micrograph and its truth; return its entry in simulation.json."""
    from napari_gempick.io.atomic import write_text
    from napari_gempick.io.stack import write_mrc
    from napari_gempick.simulation import simulate

    made = simulate.simulate_micrograph(settings, index)
    entry: dict[str, Any] = {
        "file": f"{name}.mrc",
        "truth": f"{name}_truth.csv",
        "defocus": round(made.defocus, 4),
        "carbon": made.carbon,
        "particles": dict(sorted(Counter(particle.view for particle in made.particles).items())),
    }
    pixels: NDArray[Any] = made.image
    if settings.dtype == "int8":
        pixels, middle, step = simulate.grey_levels(made.image)
        entry |= {"grey_offset": round(middle, 5), "grey_step": round(step, 7)}
    write_mrc(output / entry["file"], pixels.astype(settings.dtype), settings.pixel_size)
    write_text(output / entry["truth"], _truth_csv(made.particles))
    return entry


def _write_ctf(path: Path, settings: SimulateSettings, micrographs: list[dict[str, Any]]) -> None:
    """Write RELION's list of the micrographs (named as they lie beside it), with their defocus in Å."""
    from napari_gempick.io.star import write_tables

    optics = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": ["1"],
        "rlnMicrographPixelSize": [f"{settings.pixel_size:g}"],
        "rlnMicrographOriginalPixelSize": [f"{settings.pixel_size:g}"],
        "rlnVoltage": [f"{settings.voltage:g}"],
        "rlnSphericalAberration": [f"{settings.cs:g}"],
        "rlnAmplitudeContrast": [f"{settings.amplitude_contrast:g}"],
    }
    defocus = [f"{1e4 * entry['defocus']:.0f}" for entry in micrographs]
    rows = {
        "rlnMicrographName": [entry["file"] for entry in micrographs],
        "rlnOpticsGroup": ["1"] * len(micrographs),
        "rlnDefocusU": defocus,
        "rlnDefocusV": defocus,
        "rlnDefocusAngle": ["0"] * len(micrographs),
    }
    write_tables(path, {"optics": optics, "micrographs": rows})


def _truth_csv(particles: list[Particle]) -> str:
    rows = [f"{p.x:.2f},{p.y:.2f},{p.view},{p.psi:.2f}" for p in particles]
    return "\n".join(["x,y,view,psi", *rows]) + "\n"
