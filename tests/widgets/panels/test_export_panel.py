"""Files written from the window prove themselves; particles are cut out behind it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import starfile
from qtpy.QtCore import Qt

from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS
from napari_gempick.io.images.micrograph import open_image

SAMPLE = Path(__file__).parents[3] / "sample_data"


@pytest.fixture(scope="module")
def sample_session(tmp_path_factory, make_session):
    """A session that has searched one of the sample micrographs: enough particles to prove coordinates with."""
    folder = tmp_path_factory.mktemp("sample")
    shutil.copy(SAMPLE / "micrograph_001.mrc", folder)
    made = make_session()
    made.controller.add_micrographs([folder / "micrograph_001.mrc"])
    made.wait(lambda: made.controller.loaded is not None)
    for view in ("side", "top"):
        made.controller.add_view(view, [str(SAMPLE / f"template_{view}.mrc")])
        made.controller.change_view(view, mask=str(SAMPLE / f"mask_{view}.mrc"))
    for name, value in {"angle_step": 10.0, "lowpass": 35.2}.items():
        made.controller.set_value(name, value)
    made.controller.set_threshold(None, 0.5)
    made.searches.run_this()
    made.idle()
    made.close()
    return made.folder


@pytest.fixture
def sampled(dock, sample_session, tmp_path, qtbot):
    shutil.copytree(sample_session, tmp_path / "session")
    dock.open([tmp_path / "session"])
    qtbot.waitUntil(lambda: dock.controller.choice is not None, timeout=20_000)
    return dock


def said_by(dock):
    said = []
    dock.controller.notified.connect(lambda sentence, kind: said.append((kind, sentence)))
    return said


def test_files_prove_themselves(sampled, tmp_path, qtbot):
    part, out = sampled.export, tmp_path / "out"
    part.set_folder(out)
    for name in ("box", "cs"):
        part.formats.actions[name].setChecked(True)
    qtbot.mouseClick(part.all, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "verified" in part.proof.text(), timeout=60_000)
    assert part.proof.text().startswith("<b>star, cs</b>: verified: correlation with the template 0.")
    assert "<b>box</b>: verified" in part.proof.text()  # it knows no angles
    assert part.proof.isVisibleTo(part)
    assert len(read_coordinates(out / "micrograph_001.box").picks) == len(sampled.controller.choice)


@pytest.mark.errors_are_said
def test_a_wrong_file_gets_no_name_and_one_sentence(sampled, tmp_path, qtbot, monkeypatch):
    from dataclasses import replace

    box = FORMATS["box"]

    def flipped(path, picks, info):
        box.writer(path, replace(picks, y=info.shape[0] - 1 - picks.y), info)

    known = {**FORMATS, "box": replace(box, writer=flipped)}
    monkeypatch.setattr("napari_gempick.workflows.export.format_named", known.__getitem__)
    said, part, out = said_by(sampled), sampled.export, tmp_path / "out"
    part.set_folder(out)
    part.formats.actions["box"].setChecked(True)
    part.export(all_=True)
    qtbot.waitUntil(lambda: "verified" in part.proof.text(), timeout=60_000)
    (wrong,) = [sentence for kind, sentence in said if kind == "error"]
    assert "micrograph_001.box was not written" in wrong and "flipped in y" in wrong
    assert "<b>box</b>: wrong: correlation with the template" in part.proof.text()
    assert sorted(path.name for path in out.iterdir()) == ["autopick.star", "micrograph_001_autopick.star"]


def test_without_templates_it_says_so(picked, tmp_path, qtbot):
    picked.export.set_folder(tmp_path / "out")
    picked.controller.remove_view("particle")
    picked.export.export(all_=True)
    qtbot.waitUntil(lambda: "not verifiable" in picked.export.proof.text(), timeout=20_000)
    assert (tmp_path / "out" / "one_autopick.star").exists()


def test_particles_are_slices(picked, planted, qtbot):
    part = picked.export.particles
    part.set_open(True)
    part.fields["box"].native.setValue(40)
    for name in ("invert", "normalize"):
        qtbot.mouseClick(part.fields[name].native, Qt.MouseButton.LeftButton)
    assert part.plan.text() == "40 × 40 px of 2 Å, in particles/"
    qtbot.mouseClick(part.run, Qt.MouseButton.LeftButton)
    folder = picked.controller.folder.path / "particles"
    qtbot.waitUntil(lambda: "particles of" in part.result.text(), timeout=60_000)
    assert part.result.text() == "5 particles of 2 micrographs: particles.star."
    stack = open_image(folder / "particles.mrcs").data
    rows = starfile.read(folder / "particles.star")["particles"]
    image = open_image(picked.controller.state.files[0].path).data[0]
    for number, row in rows.iterrows():
        if row.rlnMicrographName.endswith("one.mrc"):
            x, y = round(row.rlnCoordinateX), round(row.rlnCoordinateY)
            np.testing.assert_array_equal(stack[number], image[y - 20 : y + 20, x - 20 : x + 20])
    qtbot.waitUntil(part.run.isEnabled)
    assert not part.bar.isVisibleTo(part)
    part.extract(replace_files=False)  # what is there is not replaced unasked
    assert part._task is None


@pytest.mark.errors_are_said
def test_settings_for_relion_and_errors(picked, qtbot):
    part, said = picked.export.particles, said_by(picked)
    made = part.settings(64)
    assert (made.box, made.invert, made.normalize, made.dtype) == (64, True, True, "float32")
    part.fields["dtype"].native.setCurrentText("float16")
    part.fields["box"].native.setValue(64)
    part.fields["rescale"].native.setValue(32)
    assert part.plan.text() == "32 × 32 px of 4 Å, in particles/"
    part.fields["rescale"].native.setValue(128)
    assert "larger than" in part.plan.text()
    part.extract()
    qtbot.waitUntil(lambda: bool(said), timeout=20_000)
    assert "larger than" in said[0][1] and part.run.isEnabled()


def test_cancelling_the_extraction(picked, qtbot):
    part = picked.export.particles
    part.extract()
    qtbot.waitUntil(lambda: part._task is not None, timeout=20_000)
    part.cancel.click()
    qtbot.waitUntil(lambda: part._task is None, timeout=10_000)
    assert not (picked.controller.folder.path / "particles" / "particles.mrcs").exists()
