"""A parameter that is declared is an option, a row of the reference, an editor in the window and a line of a job."""

import html
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import napari_gempick
from napari_gempick.io.stack import write_mrc

ROOT = Path(__file__).parents[1]
BEFORE = '    @field_validator("lowpass", "highpass"'
NEW = """\
    ice_limit: float | None = declare(None, "Thickest ice.", unit="Å", gt=0, group="Ice", empty="any")
    ice_step: float = _searched(4.0, "Step of the ice.", unit="Å", ge=0)
    ice_most: int | None = _tune(None, "Most ice.", ge=0, unit="Å", empty="all")
    ice_sheet: Literal["off", "on"] = declare("off", "Sheet of ice.", group="Export", role="files")

"""
HELP = {
    "ice_limit": "Thickest ice. [Å]",
    "ice_step": "Step of the ice. [Å]",
    "ice_most": "Most ice. [Å]",
    "ice_sheet": "Sheet of ice.",
}
EMPTY = {"ice_limit": None, "ice_step": 4.0, "ice_most": None, "ice_sheet": "off"}
VALUES = {"ice_limit": 300.0, "ice_step": 2.5, "ice_most": 7, "ice_sheet": "on"}
WORDS = {
    name: f"--{name.replace('_', '-')} {text}" for name, text in zip(VALUES, ("300", "2.5", "7", "on"), strict=True)
}
PROGRAM = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
sys.path.insert(0, sys.argv[1])
values, options = json.loads(sys.argv[2]), sys.argv[3].split()
from reference import pages
from napari_gempick.cli import main
run = lambda *words: CliRunner().invoke(main, words)
found = {"reference": pages()}
found["export"] = run("job", "export", "image.mrc", "--templates", "blob.mrc", "-o", "job", *options).output

from qtpy.QtWidgets import QApplication, QWidget
app = QApplication([])
from napari_gempick.widgets.panels.search import command_line
from napari_gempick.widgets.state.controller import Controller
from napari_gempick.widgets.background.folder_watch import FolderWatch
from napari_gempick.widgets.background.pick_counter import PickCounter
from napari_gempick.widgets.background.fdr_estimator import FdrEstimator
from napari_gempick.widgets.panels.export import ExportPanel
from napari_gempick.widgets.panels.micrographs import MicrographsPanel
from napari_gempick.widgets.panels.search import SearchPanel
from napari_gempick.widgets.panels.templates import TemplatesPanel
from napari_gempick.widgets.panels.tune import TunePanel
from napari_gempick.widgets.background.search_runner import SearchRunner
from napari_gempick.widgets.state.session import SessionFolder, read_session
from napari_gempick.widgets.background.background_tasks import BackgroundTasks
controller = Controller()
searches, counter, estimates = SearchRunner(controller), PickCounter(controller), FdrEstimator(controller)
from types import SimpleNamespace
watch = FolderWatch(controller, searches)
still = SimpleNamespace(connect=print)
drawing, layers = SimpleNamespace(changed=still, view=""), SimpleNamespace(seen_changed=still, seen=None)
area = SimpleNamespace(show=print, take=print, changed=still)
layers.picks = SimpleNamespace(show_false=print)
parts = [
    MicrographsPanel(controller, searches, counter, watch, print, print),
    TemplatesPanel(controller, drawing, print, print),
    SearchPanel(controller, searches),
    TunePanel(controller, counter, estimates, layers, area, QWidget(), print, print),
    ExportPanel(controller, counter, BackgroundTasks(controller), BackgroundTasks(controller)),
]
children = [child for part in parts for child in part.findChildren(QWidget)]
editors = [child._magic_widget for child in children if hasattr(child, "_magic_widget")]
found["editors"] = {name: [one for one in editors if one.name == name] for name in values}
found["empty"] = {name: [one.value for one in made] for name, made in found["editors"].items()}
found["tips"] = {name: [one.tooltip for one in made] for name, made in found["editors"].items()}
for name, made in found.pop("editors").items():
    for one in made:
        one.value = values[name]
settings = controller.state.settings()
found["edited"] = {name: getattr(settings, name) for name in values}
found["command"] = command_line(settings, [], Path("picks"))
folder = SessionFolder(Path("session"))
folder.save(controller.state, {}, None)
folder.close()
found["session"] = {name: getattr(read_session(folder.path)[0].settings(), name) for name in values}
watch.close()
searches.close()
controller.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What a copy of the package says in each place when it declares a few parameters more."""
    folder = tmp_path_factory.mktemp("declared")
    shutil.copytree(Path(napari_gempick.__file__).parent, folder / "src" / "napari_gempick")
    settings = folder / "src" / "napari_gempick" / "model" / "settings.py"
    text = settings.read_text(encoding="utf-8")
    assert text.count(BEFORE) == 1
    settings.write_text(text.replace(BEFORE, NEW + BEFORE), encoding="utf-8")
    random = np.random.default_rng(0)
    for name, side in (("image", 96), ("blob", 16)):
        write_mrc(folder / f"{name}.mrc", random.standard_normal((side, side)).astype(np.float32), 4.0)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT / "docs"), json.dumps(VALUES), " ".join(WORDS.values())],
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "QT_QPA_PLATFORM": "offscreen", "COLUMNS": "120"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (folder / "job" / "job.json").exists(), told["export"]
    return told | {"job": json.loads((folder / "job" / "job.json").read_text())["settings"]}


@pytest.mark.parametrize("name", VALUES)
def test_command_line_and_reference(found, name):
    """The reference is made from the commands. Only what tunes is an option of retune; a preview writes no files."""
    flag = WORDS[name].split()[0]
    rows = {
        command: row
        for command, page in found["reference"].items()
        for row in page.split("## Defaults")[0].splitlines()
        if flag in row
    }
    assert {"pick", "preview", "job export"} - set(rows) == ({"preview"} if name == "ice_sheet" else set())
    assert ("retune" in rows) == (name == "ice_most")
    assert HELP[name] in html.unescape(rows["pick"])


@pytest.mark.parametrize("name", VALUES)
def test_window(found, name):
    """One editor, which shows the default, explains it, and sets the value."""
    assert found["empty"][name] == [EMPTY[name]]
    assert found["tips"][name] == [f"<p>{HELP[name]}</p>"]
    assert found["edited"][name] == VALUES[name]


@pytest.mark.parametrize("name", VALUES)
def test_files(found, name):
    """The folder of a cluster job, the window's session, and the command that repeats the search."""
    assert found["job"][name] == found["session"][name] == VALUES[name]
    assert WORDS[name] in found["command"]
