"""The command `gempick`: its sub-commands are in the modules of this folder, which are loaded when they are called.

So `--help` is instant.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from typing import Any

import click


class ListedGroup(click.Group):
    """Commands in the order of `summaries`, with one line about each; those of `gempick` are imported when called."""

    def __init__(self, *args: Any, summaries: dict[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.summaries = summaries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if none has that name."""
        if cmd_name not in self.commands and cmd_name in self.summaries:
            module = import_module(f"{__name__}.{_MODULES.get(cmd_name, cmd_name)}")
            found = (one for one in vars(module).values() if isinstance(one, click.Command))
            self.commands.update({str(one.name): one for one in found if one.name in self.summaries})
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))


_MODULES = {"watch": "pick", "preview": "pick", "retune": "pick", "report": "pick", "devices": "bench"}
"""Where commands are that have no module of their own name."""
COMMANDS = {
    "pick": "Pick particles by template matching.",
    "watch": "Pick micrographs as they arrive in folders.",
    "preview": "A quick look: coarse search, then exact scores of its candidates.",
    "retune": "Choose picks again from saved candidates, without a new search.",
    "job": "Pick a data set on a cluster: export, submit, status, collect, cancel.",
    "templates": "Make templates and masks: projections, averages, shapes.",
    "evaluate": "Compare picks with a ground truth (known particle positions).",
    "convert": "Convert coordinates between programs.",
    "report": "Write a report for your lab notebook.",
    "extract": "Cut particles out of micrographs.",
    "simulate": "Make micrographs with known particles.",
    "bench": "Measure templates per second against a plain FFT.",
    "gui": "Open napari with the plugin.",
    "devices": "List CPUs, GPUs and library versions.",
}


@click.group(
    cls=ListedGroup,
    summaries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="napari-gempick", prog_name="gempick")
def main() -> None:
    """Pick particles in cryo-electron micrographs by exact masked template matching (NCC)."""


def run() -> int:
    """Run the command line and return the exit status; usage errors are printed.

    Raises
    ------
    KeyboardInterrupt
        The command was stopped.
    """
    for stream in (sys.stdout, sys.stderr):  # names of any alphabet on any terminal
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        return main.main(standalone_mode=False, prog_name="gempick") or 0
    except click.exceptions.Abort as error:  # what click makes of an interrupt
        raise error.__cause__ if isinstance(error.__cause__, KeyboardInterrupt) else KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who read our output has gone
        return 1
