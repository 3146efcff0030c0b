"""gempick devices."""

from __future__ import annotations

from pathlib import Path

import click

from napari_gempick.cli.common import command_errors, json_option, print_json
from napari_gempick.device.discover import describe_machine
from napari_gempick.model.values import counted
from napari_gempick.results.run_file import read_run


@click.command("devices")
@click.argument("results", required=False, type=click.Path(path_type=Path))
@json_option
@command_errors
def command(results: Path | None, as_json: bool) -> None:
    """List the CPU and the GPUs that can be used, with free memory and library versions.

    With RESULTS, the output folder of a run, also say which devices it used and what limited it.
    """
    run = None if results is None else read_run(results)
    machine = describe_machine()
    if run is not None:
        machine["run"] = {"devices": run.get("devices", []), "stages": run.get("stages", {})}
    if as_json:
        print_json(machine)
        return
    cpu = machine["cpu"]
    click.echo(f"cpu      {cpu['cpu']}, {counted(cpu['threads'], 'thread')}, NumPy {cpu['numpy']}, {cpu['fft']}")
    for gpu in machine["gpus"]:
        free, total = (gpu[key] / 2**30 for key in ("free", "total"))
        click.echo(f"{gpu['device']:<8} {gpu['name']}, {free:.1f} of {total:.1f} GiB free")
    if not machine["gpus"]:
        click.echo(f"no GPU   {machine['no_gpu_because']}")
    if run is not None:
        used = ", ".join(f"{device['name']} ({device['model']})" for device in run.get("devices", []))
        limit = run.get("stages", {}).get("limited_by") or "nothing was measured"
        click.echo(f"{results}: {used}; {limit}")
