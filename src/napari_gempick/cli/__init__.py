"""The command `gempick`: one small module per sub-command, loaded only when it is called."""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS = {
    "pick": "Pick particles by template matching.",
    "retune": "New picks from saved candidates: no correlation.",
    "evaluate": "Compare picks with a truth.",
    "convert": "Carry coordinates between programs.",
    "simulate": "Make micrographs with known particles.",
    "bench": "Measure templates per second against a plain FFT.",
    "gui": "Open napari with the plugin.",
    "devices": "List CPUs, GPUs and library versions.",
}


class _LazyGroup(click.Group):
    """Imports a sub-command's module when it is called, so that `gempick --help` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"napari_gempick.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="napari-gempick", prog_name="gempick")
def main() -> None:
    """Pick particles in cryo-electron micrographs by exact masked template matching (NCC)."""
