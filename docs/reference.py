"""The command-line reference, made from the commands themselves: a hook of MkDocs that fills docs/cli.md.

`python docs/reference.py` prints it.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import click

from napari_gempick.cli import COMMANDS

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference in the place of its mark (called by MkDocs for every page)."""
    return markdown.replace(MARK, reference())


def reference() -> str:
    """Return the Markdown of all commands."""
    return "\n\n".join(_command(name) for name in COMMANDS)


def _command(name: str) -> str:
    command = import_module(f"napari_gempick.cli.{name}").command
    context = click.Context(command, info_name=f"gempick {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    heading = f"## gempick {name} {{#{name}}}"
    rows = [_row(option, context) for option in command.get_params(context) if isinstance(option, click.Option)]
    table = "\n".join(["| option | meaning |", "|---|---|", *rows])
    return "\n\n".join([heading, f"```\ngempick {name} {usage}\n```", inspect.cleandoc(command.help or ""), table])


def _row(option: click.Option, context: click.Context) -> str:
    """Return the names, the value and the help of an option; the help has unit and default in square brackets."""
    names, text = option.get_help_record(context) or ("", "")
    return f"| {_literal(names)} | {_escaped(text)} |"


def _literal(text: str) -> str:
    """Return text in code style; a vertical bar would end a table's cell."""
    return f"<code>{_escaped(text)}</code>"


def _escaped(text: str) -> str:
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("*", "&#42;"), ("_", "&#95;")):
        text = text.replace(mark, entity)
    return text


if __name__ == "__main__":
    print(reference())
