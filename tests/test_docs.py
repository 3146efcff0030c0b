"""The documentation: commands that parse, the program's options, columns and keys, links and pictures."""

import html
import json
import re
import shlex
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from helpers import picks_at
from napari_gempick.cli import COMMANDS, main
from napari_gempick.io.formats import PicksInfo
from napari_gempick.io.formats.relion import write_autopick
from napari_gempick.io.formats.table import write_table
from napari_gempick.io.star import read_tables
from napari_gempick.model.settings import PickSettings
from napari_gempick.simulation.settings import SimulateSettings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "sample_data" / "README.md", *PAGES]
LARGEST = {"overlay.png": 500_000, "strip.png": 500_000}
LARGEST_PICTURE = 300_000  # bytes


@pytest.fixture(scope="module")
def reference():
    """The reference's pages by command."""
    return import_module("reference").pages()


def plain(text):
    """Text without the marks that protect it from Markdown."""
    return html.unescape(text)


def commands_in(text):
    """Commands of gempick in code blocks."""
    text = re.sub(r"\\\n\s*", "", text)
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from (line for line in block.splitlines() if line.startswith("gempick "))
    yield from re.findall(r"^    (gempick .*)$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_texts_parse(path):
    for line in commands_in(path.read_text()):
        command, name, arguments = main, "gempick", shlex.split(line)[1:]
        while isinstance(command, click.Group) and arguments:
            name, *arguments = arguments
            command = command.get_command(click.Context(command), name)
            assert command is not None, line
        command.make_context(name, arguments)  # raises UsageError where an option is unknown


def every_command():
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        if isinstance(command, click.Group):
            context = click.Context(command)
            yield from ((f"{name} {sub}", command.get_command(context, sub)) for sub in command.list_commands(context))
        else:
            yield name, command


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_reference_has_every_option(reference, name, command):
    text = reference[name]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.opts[0] in text
            assert option.help, option.name


@pytest.mark.parametrize(("name", "settings"), [("pick", PickSettings), ("simulate", SimulateSettings)])
def test_reference_has_units_and_defaults_of_every_setting(reference, name, settings):
    text = reference[name].split("## Defaults")[0]
    rows = {re.search(r"--[\w-]+", row)[0]: plain(row) for row in text.splitlines() if "<code>--" in row}
    for setting, info in settings.model_fields.items():
        row = rows["--" + setting.replace("_", "-")]
        unit = info.json_schema_extra["unit"]
        assert unit is None or f"[{unit}]" in row
        if isinstance(info.default, (int, float, str)) and info.default and not isinstance(info.default, bool):
            shown = f"{info.default:g}" if isinstance(info.default, float) else str(info.default)
            assert f"[default: {shown}]" in row


def test_picture_sizes():
    pictures = list((DOCS / "images").glob("*.png"))
    tutorial = list((DOCS / "images" / "tutorial").glob("*.png"))
    shown = "".join(path.read_text() for path in TEXTS)
    assert pictures and all(picture.name in shown for picture in [*pictures, *tutorial])
    for picture in [*pictures, *tutorial]:
        assert picture.stat().st_size < LARGEST.get(picture.name, LARGEST_PICTURE), picture.name


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_rows_and_items_are_lines_of_their_own(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^.*\S -$|^.*\. - \*\*.*$", text, flags=re.MULTILINE)
    for table in re.findall(r"^\|.*\n\|[-|]+\n(?:\|.*\n)*.*", text, flags=re.MULTILINE):
        heading, *rows, after = table.split("\n")
        assert not after.strip(), f"after a table: {after}"
        assert [row for row in rows if len(re.findall(r"(?<!\\)\|", row)) != heading.count("|")] == []


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    nav = yaml.safe_load(text)["nav"]
    named = set(re.findall(r"[\w-]+\.md", json.dumps(nav)))
    assert named == {page.name for page in PAGES}


@pytest.fixture(scope="module")
def results(tmp_path_factory, plan_cache):
    """A small run on the sample data."""
    folder = tmp_path_factory.mktemp("docs") / "out"
    data = ROOT / "sample_data"
    arguments = ["pick", str(data / "micrograph_002.mrc"), "--templates", f"side={data / 'template_side.mrc'}"]
    arguments += ["--angle-step", "30", "--lowpass", "35.2", "--threshold", "0.5", "--format", "csv,box"]
    done = CliRunner().invoke(main, [*arguments, "-o", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_keys_of_run_json_are_documented(results):
    text = (DOCS / "outputs.md").read_text()
    run = json.loads((results / "run.json").read_text())
    names = [*run, *run["views"][0], *run["search_images"], *run["micrographs"][0]]
    assert [name for name in names if f"`{name}`" not in text and name != "k"] == []


def test_columns_of_candidates_and_index_are_documented(results):
    text = (DOCS / "outputs.md").read_text() + (DOCS / "coordinates.md").read_text()
    for file in (results / "candidates" / "micrograph_002.star", results / "autopick.star"):
        for name, table in read_tables(file).items():
            assert f"`{name}`" in text
            assert [label for label in table if not re.search(rf"\b{label}\b", text)] == []


def test_columns_of_coordinate_files_are_documented(tmp_path):
    text = (DOCS / "coordinates.md").read_text()
    picks = picks_at(0, 0)
    write_autopick(tmp_path / "a.star", picks, box_size=10, pixel_size=1.0)
    (table,) = read_tables(tmp_path / "a.star").values()
    assert [label for label in table if not re.search(rf"\b{label}\b", text)] == []
    write_table(tmp_path / "a.csv", picks, PicksInfo())
    assert (tmp_path / "a.csv").read_text().splitlines()[0].replace(",", ", ") in text.replace(" (its name)", "")


def test_written_coordinate_files_are_those_of_the_documentation(results):
    present = {path.name.replace("micrograph_002", "STEM") for path in results.iterdir() if path.is_file()}
    text = (DOCS / "outputs.md").read_text()
    assert [name for name in present if f"`{name}`" not in text] == []
