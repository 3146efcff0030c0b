"""The command-line reference, made from the commands themselves: a hook of MkDocs that fills docs/cli.md.

`python docs/reference.py` prints it.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the reference in the place of its mark (called by MkDocs for every page)."""
    return markdown.replace(MARK, reference())


def reference() -> str:
    """Return the Markdown of all commands."""
    return "\n\n".join(_commands(main, ""))


def _commands(group: click.Group, before: str) -> Iterator[str]:
    """Yield the Markdown of every command of a group, and of the groups in it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        elif command is not None:
            yield _command(command, before + name)


def _command(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=f"gempick {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    heading = f"## gempick {name} {{#{name.replace(' ', '-')}}}"
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
    text = text.replace("&", "&amp;")
    for mark in "<>|*_[]":
        text = text.replace(mark, f"&#{ord(mark)};")
    return text


if __name__ == "__main__":
    print(reference())
