"""A parameter that is declared is an option, a row of the reference, an editor in the window and a line of a job."""

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
NEW = '    ice_limit: float | None = declare(None, "Thickest ice.", unit="Å", gt=0, group="Ice", empty="any")\n\n'
PROGRAM = """
import json, sys
from click.testing import CliRunner
sys.path.insert(0, sys.argv[1])
from reference import reference
from napari_gempick.cli import main
run = lambda *words: CliRunner().invoke(main, words)
found = {"help": run("pick", "--help").output, "reference": reference()}
done = run("job", "export", "image.mrc", "--templates", "blob.mrc", "-o", "job", "--ice-limit", "250", "--threads", "1")
found["export"] = done.output
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_gempick.widgets.more_settings import MoreSettings
part, edited = MoreSettings(), []
part.edited.connect(lambda name, value: edited.append([name, value]))
editor = part.fields["ice_limit"].native
found["empty"] = editor.text()
editor.setValue(300.0)
found["shown"], found["edited"] = editor.text(), edited
part.show_values({"ice_limit": 300.0})
found["heading"] = part.heading.text()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the four places say when one more parameter is declared, in a copy of the package."""
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
        [sys.executable, "-c", PROGRAM, str(ROOT / "docs")],
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "QT_QPA_PLATFORM": "offscreen", "COLUMNS": "120"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]) | {"job": json.loads((folder / "job" / "job.json").read_text())}


def test_option(found):
    assert "--ice-limit FLOAT" in found["help"] and "Thickest ice. [Å]" in found["help"]


def test_reference(found):
    row = next(row for row in found["reference"].splitlines() if "--ice-limit" in row)
    assert "Thickest ice. [Å]" in row


def test_window(found):
    assert (found["empty"], found["shown"]) == ("any", "300.0 Å")
    assert found["edited"] == [["ice_limit", 300.0]] and "ice limit" in found["heading"]


def test_job(found):
    assert found["job"]["settings"]["ice_limit"] == 250.0
