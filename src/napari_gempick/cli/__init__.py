"""The command `gempick`: one small module per sub-command, loaded only when it is called."""

from __future__ import annotations

import click

from napari_gempick.cli.lazy import LazyGroup

COMMANDS = {
    "pick": "Pick particles by template matching.",
    "preview": "A quick look: coarse search, then exact scores of its candidates.",
    "retune": "New picks from saved candidates: no correlation.",
    "job": "Pick a data set on a cluster: export, submit, status, collect, cancel.",
    "templates": "Make templates and masks: projections, averages, shapes.",
    "evaluate": "Compare picks with a truth.",
    "convert": "Carry coordinates between programs.",
    "report": "Write a page for the lab notebook.",
    "extract": "Cut particles out of micrographs.",
    "simulate": "Make micrographs with known particles.",
    "bench": "Measure templates per second against a plain FFT.",
    "gui": "Open napari with the plugin.",
    "devices": "List CPUs, GPUs and library versions.",
}


@click.group(
    cls=LazyGroup,
    package=__name__,
    summaries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="napari-gempick", prog_name="gempick")
def main() -> None:
    """Pick particles in cryo-electron micrographs by exact masked template matching (NCC)."""
