"""From the window to a cluster: the dialog, the same job folder as the command line's, watching, results."""

import json
import os
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from qtpy.QtCore import Qt

from napari_gempick.cli import main
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.status import job_status
from napari_gempick.widgets.panels import remembered

WAITING = 60_000


@pytest.fixture(autouse=True)
def own_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def part(picked, qtbot):
    """The fold of part 5, and the dialog open and measured."""
    part = picked.export.cluster
    part.set_open(True)
    return part


@pytest.fixture
def dialog(part, qtbot):
    qtbot.mouseClick(part.new, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: "rotated templates" in part.dialog.estimate.text(), timeout=WAITING)
    yield part.dialog
    part.dialog.reject()


def type_into(qtbot, widget, text):
    widget.setFocus()
    widget.selectAll()
    qtbot.keyClicks(widget, text)
    qtbot.keyClick(widget, Qt.Key.Key_Tab)


def fake_slurm(folder, monkeypatch):
    """An sbatch that runs the script here, and an scancel; what they are told is kept."""
    folder.mkdir()
    for name, line in (
        ("sbatch", 'bash "$2" > log/out.txt 2>&1 &\necho 77'),
        ("srun", 'exec "$(dirname "$FAKE_PYTHON")/mpiexec" -n 2 "${@:7}"'),
        ("scancel", "true"),
    ):
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> "{folder}/calls.txt"\n{line}\n', encoding="utf-8")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_PYTHON", sys.executable)
    return folder / "calls.txt"


def export(qtbot, dialog, part, button):
    folder = Path(dialog.folder.text())
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: part.folder == folder, timeout=WAITING)
    return folder


def same_but_for_time(folder):
    """Everything in a job folder; what was measured and where it lies taken out."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("job.json", "README.txt", ".lock")
    }
    job = json.loads((folder / "job.json").read_text())
    found["submit.sh"] = found["submit.sh"].replace(str(folder).encode(), b"")
    job["script"] = None
    for name in ("seconds", "core_hours", "hours"):
        job["estimate"][name] = None
    return found, job


def test_estimate_and_script_follow_the_fields(dialog, qtbot):
    assert "2 micrographs x 12 rotated templates on 1 rank" in dialog.estimate.text()
    assert "core hours" in dialog.estimate.text() and "GB of memory" in dialog.estimate.text()
    dialog.fields["nodes"].native.setValue(2)
    dialog.fields["tasks_per_node"].native.setValue(3)
    type_into(qtbot, dialog.fields["partition"].native, "long")
    dialog.lines["environment"].setPlainText("module load mpich\n\nexport FI_PROVIDER=tcp")
    qtbot.waitUntil(lambda: "on 6 ranks" in dialog.estimate.text())
    script = dialog.script.toPlainText()
    assert "#SBATCH --nodes=2\n" in script and "#SBATCH --partition=long\n" in script
    assert "\nmodule load mpich\nexport FI_PROVIDER=tcp\n" in script
    assert dialog.maps.text().startswith("Keep score and index maps (1.")
    dialog.maps.click()
    qtbot.waitUntil(lambda: "of maps" in dialog.estimate.text())
    dialog.site.setCurrentIndex(dialog.site.findData("pbs"))
    dialog.site.activated.emit(dialog.site.currentIndex())
    qtbot.waitUntil(lambda: "#PBS" in dialog.script.toPlainText())


def test_what_is_wrong_is_said_in_the_dialog_and_a_sites_own_folder(dialog, qtbot, tmp_path, monkeypatch):
    type_into(qtbot, dialog.fields["walltime"].native, "two days")
    qtbot.waitUntil(lambda: "Longest run: 'two days'" in dialog.problem.text())
    assert not dialog.submit.isEnabled() and not dialog.only.isEnabled()
    type_into(qtbot, dialog.fields["walltime"].native, "2-00:00:00")
    qtbot.waitUntil(lambda: dialog.submit.isEnabled())
    dialog.folder.setText(str(tmp_path))
    qtbot.waitUntil(lambda: "already exists" in dialog.problem.text())
    lane = tmp_path / "lane"
    lane.mkdir()
    info = {"name": "lane", "qsub_cmd_tpl": "qsub {{ script_path_abs }}", "qdel_cmd_tpl": "qdel {{ cluster_job_id }}"}
    (lane / "cluster_info.json").write_text(json.dumps(info))
    (lane / "cluster_script.sh").write_text("#!/bin/bash\n#$ -pe mpi {{ num_cpu }}\n{{ run_cmd }}\n")
    monkeypatch.setattr(
        "napari_gempick.widgets.panels.cluster_dialog.QFileDialog.getExistingDirectory", lambda *_: str(lane)
    )
    dialog.site.setCurrentIndex(dialog.site.count() - 1)
    dialog.site.activated.emit(dialog.site.currentIndex())
    qtbot.waitUntil(lambda: "#$ -pe mpi 1\n" in dialog.script.toPlainText())
    assert dialog.site.currentText() == "cryoSPARC: lane"


def test_cancel_ends_an_export_that_waits_for_the_measurement(picked, part, qtbot):
    said = []
    picked.controller.notified.connect(lambda sentence, kind: said.append(sentence))
    qtbot.mouseClick(part.new, Qt.MouseButton.LeftButton)
    folder = Path(part.dialog.folder.text())
    qtbot.mouseClick(part.dialog.only, Qt.MouseButton.LeftButton)
    assert "Writing" in part.dialog.estimate.text()
    qtbot.mouseClick(part.dialog.stop, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: picked.cluster.current is None, timeout=WAITING)
    assert not folder.exists() and part.folder is None and not said
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".tmp-")]


@pytest.mark.errors_are_said
def test_exported_is_what_the_command_line_exports(picked, part, dialog, qtbot, tmp_path, monkeypatch):
    dialog.fields["nodes"].native.setValue(2)
    dialog.lines["environment"].setPlainText("export A='b c'")
    dialog.maps.click()
    root = str(picked.controller.state.files[0].path.parent)
    dialog.root.setText(root)
    dialog.cluster_root.setText("/scratch/my data")
    script = dialog.script
    qtbot.waitUntil(lambda: "export A='b c'" in script.toPlainText())
    previewed = script.toPlainText()
    mine = export(qtbot, dialog, part, dialog.only)
    assert (mine / "submit.sh").read_text() == previewed
    assert not (mine / "submitted.json").exists()
    picked.search.save_settings(tmp_path / "settings.json")
    micrographs = [str(file.path) for file in picked.controller.state.files]
    options = ["--nodes", "2", "--environment", "export A='b c'", "--save-maps"]
    options += ["--root", root, "--cluster-root", "/scratch/my data"]
    command = ["job", "export", *micrographs, "-o", str(tmp_path / "job"), "--config", str(tmp_path / "settings.json")]
    done = CliRunner().invoke(main, [*command, *options])
    assert done.exit_code == 0, done.output
    assert same_but_for_time(mine) == same_but_for_time(tmp_path / "job")
    assert json.loads((mine / "job.json").read_text())["root"] == "/scratch/my data"
    qtbot.waitUntil(lambda: "not submitted yet" in part.words.text())
    again = remembered.last_cluster()
    assert (again["nodes"], again["environment"]) == (2, ["export A='b c'"])
    assert remembered.jobs() == [mine] and remembered.last_choices()["maps"]
    said = []
    picked.controller.notified.connect(lambda sentence, kind: said.append((kind, sentence)))
    monkeypatch.setenv("PATH", str(tmp_path))
    qtbot.mouseClick(part.again, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(said), timeout=WAITING)
    assert said == [("error", "sbatch is not installed here; submit on a machine of the cluster.")]
    qtbot.waitUntil(lambda: part.again.isEnabled() and part.again.text() == "Submit")


def test_submit_watch_and_open_results_that_grow(picked, part, dialog, qtbot, tmp_path, monkeypatch):
    calls = fake_slurm(tmp_path / "bin", monkeypatch)
    said = []
    picked.controller.notified.connect(lambda sentence, kind: said.append(sentence))
    dialog.fields["tasks_per_node"].native.setValue(2)
    dialog.maps.click()
    folder = export(qtbot, dialog, part, dialog.submit)
    qtbot.waitUntil(lambda: "Submitted: job 77." in said, timeout=WAITING)
    assert f"{folder}/submit.sh" in calls.read_text()
    qtbot.waitUntil(lambda: "complete" in part.words.text(), timeout=WAITING)
    assert "(job 77): complete<br>2 of 2 micrographs done" in part.words.text()
    assert not part.cancel.isVisibleTo(part) and not part.again.isVisibleTo(part)
    before = len(picked.controller.choice)
    job = open_job(folder)  # as while it ran
    record = job.record(job.micrographs[1])
    hidden = record.rename(record.with_suffix(".hidden"))
    qtbot.mouseClick(part.open_, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: picked.controller.folder.path == folder / "results", timeout=WAITING)
    qtbot.waitUntil(lambda: picked.controller.choice is not None, timeout=WAITING)
    assert len(picked.controller.choice) == before == 3
    assert len(picked.controller.state.files) == 1
    qtbot.waitUntil(lambda: bool(picked.controller.loaded.maps), timeout=WAITING)
    picked.controller.set_threshold(None, 0.1)
    assert len(picked.controller.choice) > 3
    assert picked.export.target == folder / "picks"  # the job's own files stay as they are
    picked.controller.set_threshold(None, 0.45)
    hidden.rename(record)
    part.open_results()
    qtbot.waitUntil(lambda: [file.output_stem for file in picked.controller.state.files] == ["one", "two"])
    assert set(picked.controller.results) == {"one", "two"}
    assert picked.controller.tune().threshold("particle") == 0.45


def test_cancelling_and_submitting_again(picked, part, dialog, qtbot):
    """A job of this machine, stopped in the middle: what is finished stays."""
    picked.controller.set_value("angle_step", 0.3)
    dialog.site.setCurrentIndex(dialog.site.findData("mpirun"))
    dialog.site.activated.emit(dialog.site.currentIndex())
    export(qtbot, dialog, part, dialog.submit)
    qtbot.waitUntil(lambda: part.status is not None and part.status.state == "running", timeout=WAITING)
    qtbot.mouseClick(part.cancel, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: part.status.state == "stopped", timeout=WAITING)
    assert part.again.isVisibleTo(part) and part.again.text() == "Submit again"
    assert job_status(part.folder).done < 2
    qtbot.mouseClick(part.forget, Qt.MouseButton.LeftButton)
    assert not part.words.isVisibleTo(part)
    part._fill_menu()
    part._menu.actions()[0].trigger()
    qtbot.waitUntil(lambda: "stopped" in part.words.text(), timeout=WAITING)
