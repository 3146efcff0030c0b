"""The command-line reference, made from the commands themselves: hooks of MkDocs.

Each command has a page, cli/NAME.md, with its options in groups; docs/cli.md lists them. `python docs/reference.py`
prints all pages.
"""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli import main
from napari_gempick.cli.options import SettingOption
from napari_gempick.model.declaration import declarations
from napari_gempick.model.settings import PickSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

    from napari_gempick.model.declaration import Declared

INDEX, MARK = "cli.md", "<!-- commands -->"
GENERAL, LAST = "General", "Further settings"
_ROW = re.compile(r"^\| ([^|]+) \| ([^|]*`--[^|]+) \|", re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Put the pages below that of the command line in the navigation (called by MkDocs)."""
    entries: list[Any] = [{"All commands": INDEX}, *({name: address(name)} for name in commands())]
    for section in config.nav or []:
        for entries_of in section.values():
            for place, entry in enumerate(entries_of):
                if INDEX in entry.values():
                    entries_of[place] = {next(iter(entry)): entries}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages (called by MkDocs)."""
    from mkdocs.structure.files import File  # the pages are printed and tested without MkDocs too

    for name, text in pages().items():
        files.append(File.generated(config, address(name), content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the list of commands in the place of its mark (called by MkDocs for every page)."""
    rows = [
        f'| <a id="{_file(name)}"></a>[gempick {name}]({address(name)}) | {_summary(command)} |'
        for name, command in commands().items()
    ]
    return markdown.replace(MARK, "\n".join(["| command | what it does |", "|---|---|", *rows]))


def address(name: str) -> str:
    """Return where the page of a command lies in the documentation."""
    return f"cli/{_file(name)}.md"


@functools.cache
def commands() -> dict[str, click.Command]:
    """Return every command by its name, such as `job export`."""
    return dict(_commands(main, ""))


@functools.cache
def pages() -> dict[str, str]:
    """Return the Markdown of every page, by the name of its command."""
    return {name: _page(command, name) for name, command in commands().items()}


def _file(name: str) -> str:
    return name.replace(" ", "-")


def _commands(group: click.Group, before: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        elif command is not None:
            yield before + name, command


def _summary(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")


def _page(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=f"gempick {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    groups: dict[str, list[str]] = {GENERAL: []}
    for option in command.get_params(context):
        if isinstance(option, click.Option):
            groups.setdefault(_group(option), []).append(_row(option, context))
    parts = [f"# gempick {name}", f"```text\ngempick {name} {usage}\n```", inspect.cleandoc(command.help or "")]
    for group, rows in groups.items():
        parts.append("\n".join([f"## {group}", "", "| option | meaning |", "|---|---|", *rows]))
    return "\n\n".join([*parts, *([_defaults()] if name == "pick" else [])])


def _group(option: click.Option) -> str:
    """Return the heading of an option: what its setting declares."""
    if not isinstance(option, SettingOption):
        return GENERAL
    return option.declared.group or ("Export" if option.declared.role == "files" else LAST)


def _row(option: click.Option, context: click.Context) -> str:
    """Return the names, the value and the help of an option; the help has unit and default in square brackets."""
    names, text = option.get_help_record(context) or ("", "")
    return f"| {_literal(names)} | {_escaped(text)} |"


def _defaults() -> str:
    """Return the table of defaults, with what RELION calls a setting as docs/relion.md has it."""
    text = (Path(__file__).parent / "relion.md").read_text(encoding="utf-8")
    table = text[text.index("| *Auto-picking* |") : text.index("| *Particle extraction* |")]
    theirs = {flag: name for name, flags in _ROW.findall(table) for flag in re.findall(r"--[\w-]+", flags)
              if "gempick" not in flags}  # fmt: skip
    rows = [
        f"| {_literal(one.flag)} | {_escaped(_default(one))} | {theirs.get(one.flag, '')} |"
        for one in declarations(PickSettings).values()
    ]
    heading = "## Defaults, and RELION's names\n\n[On to RELION](../relion.md) states the differences."
    return "\n".join([heading, "", "| option | default | RELION's *Auto-picking* |", "|---|---|---|", *rows])


def _default(one: Declared) -> str:
    stated = re.search(r"Default: ([^.]+)\.", one.help)
    if stated:
        return stated[1]
    if isinstance(one.default, bool):
        return "on" if one.default else "off"
    if one.default in (None, ()):
        return "none" if one.empty == "auto" else one.empty
    values = one.default if isinstance(one.default, tuple) else (one.default,)
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values) + one.suffix


def _literal(text: str) -> str:
    """Return text in code style; a vertical bar would end a table's cell."""
    return f"<code>{_escaped(text)}</code>"


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;")
    for mark in "<>|*_[]":
        text = text.replace(mark, f"&#{ord(mark)};")
    return text


if __name__ == "__main__":
    print("\n\n".join(pages().values()))
