"""gempick devices."""

from __future__ import annotations

import click

from napari_gempick.cli.common import command_errors, json_option, print_json
from napari_gempick.device.discover import describe_machine


@click.command("devices")
@json_option
@command_errors
def command(as_json: bool) -> None:
    """List the CPU and the GPUs that can be used, with free memory and library versions."""
    machine = describe_machine()
    if as_json:
        print_json(machine)
        return
    cpu = machine["cpu"]
    click.echo(f"cpu      {cpu['cpu']}, {cpu['threads']} threads, NumPy {cpu['numpy']}, {cpu['fft']}")
    for gpu in machine["gpus"]:
        free, total = (gpu[key] / 2**30 for key in ("free", "total"))
        click.echo(f"{gpu['device']:<8} {gpu['name']}, {free:.1f} of {total:.1f} GiB free")
    if not machine["gpus"]:
        click.echo(f"no GPU   {machine['no_gpu_because']}")
