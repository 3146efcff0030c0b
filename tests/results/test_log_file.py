"""gempick.log: what a run did, in its folder."""

import logging
import os
import re
import subprocess

import pytest

import forked_python
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.errors import SettingsError
from napari_gempick.results import log_file
from napari_gempick.results.log_file import LOG_FILE, ROOT, logged_in
from napari_gempick.workflows.pick import pick_files
from napari_gempick.workflows.retune import retune

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING|ERROR) \S")


@pytest.fixture
def few(data, tmp_path):
    """Two micrographs and a broken one, by paths of their own."""
    folder = tmp_path / "mics"
    folder.mkdir()
    for number in (0, 1):
        os.link(data / "mics" / f"mic{number}.mrc", folder / f"mic{number}.mrc")
    (folder / "torn.mrc").write_bytes((folder / "mic0.mrc").read_bytes()[:5000])
    return folder


def read(folder):
    lines = (folder / LOG_FILE).read_text(encoding="utf-8").splitlines()
    assert all(LINE.match(line) for line in lines)
    return [line[20:] for line in lines]


def test_a_run_and_what_follows(few, settings, tmp_path):
    """Devices and plan, a line for each micrograph, why one failed; later runs append."""
    out = tmp_path / "out"
    run = pick_files(settings, find_micrographs([few]), out)
    lines = read(out)
    rows = {row["name"]: row for row in run["micrographs"]}
    assert lines[0].startswith("INFO pick: napari-gempick") and lines[-1] == "INFO pick has ended"
    start = next(line for line in lines if line.startswith("INFO settings: "))
    assert '"threshold": ["auto"]' in start and '"name": "cpu"' in start
    assert f'"wisdom": "{run["plan"]["wisdom"]}"' in lines[-2]
    for name in ("mic0", "mic1"):
        (line,) = (line for line in lines if line.startswith(f"INFO name: {name}; "))
        assert f"picks: {rows[name]['picks']}; " in line and f"seconds: {rows[name]['seconds']}" in line
    assert f"WARNING {rows['torn']['error']}" in lines
    again = pick_files(settings, find_micrographs([few]), out, resume=True)
    assert again["state"] == "complete"
    more = read(out)
    assert more[: len(lines)] == lines
    assert [line for line in more[len(lines) :] if "kept from an earlier run" in line] == [
        f"INFO {name}: kept from an earlier run" for name in ("mic0", "mic1")
    ]
    retune(out, {"threshold": 0.6})
    last = read(out)[len(more) :]
    assert last[0].startswith("INFO retune: ") and last[1] == 'INFO changes: {"fdr": "None", "threshold": "0.6"}'
    assert not ROOT.handlers and ROOT.level == logging.NOTSET


def test_a_run_that_is_refused_writes_no_log(few, settings, tmp_path, picked):
    folder, _ = picked
    log = (folder / LOG_FILE).read_bytes()
    with pytest.raises(SettingsError, match="--resume"):
        pick_files(settings, find_micrographs([few]), folder)
    assert (folder / LOG_FILE).read_bytes() == log
    wrong = settings.model_copy(update={"templates": ("gone.mrc",)})
    with pytest.raises(Exception, match=r"gone\.mrc"):
        pick_files(wrong, find_micrographs([few]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["pipe", "link", "folder", "full"])
def test_a_log_that_cannot_be_written_stops_nothing(kind, tmp_path, monkeypatch, capfd):
    """A named pipe that nobody reads, a link that leads out of the folder, a full disk."""
    path, outside = tmp_path / LOG_FILE, tmp_path.parent / "outside.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(outside)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/full")
        monkeypatch.setattr(type(path), "is_symlink", lambda self: False)
        monkeypatch.setattr(type(path), "is_file", lambda self: True)
    with logged_in(tmp_path, "test"):
        (tmp_path / "run.json").touch()
        log_file.LOG.info("a sentence")
    assert not outside.exists()
    assert capfd.readouterr() == ("", "")


def test_an_error_is_logged_and_every_message_is_one_line(tmp_path):
    with pytest.raises(SettingsError), logged_in(tmp_path, "test"):
        (tmp_path / "run.json").touch()
        log_file.LOG.warning("a\nb\rc")
        raise SettingsError("It is wrong.")
    text = (tmp_path / LOG_FILE).read_text()
    assert "WARNING a\n    b\\rc\n" in text and text.endswith("ERROR test has ended: It is wrong.\n")


@pytest.mark.parametrize("level", [logging.NOTSET, logging.DEBUG, logging.ERROR])
def test_a_level_that_the_caller_chose_stays(tmp_path, level, monkeypatch):
    monkeypatch.setattr(ROOT, "level", level)
    with logged_in(tmp_path, "test"):
        (tmp_path / "run.json").touch()
        log_file.LOG.info("told")
        assert ROOT.level == min(level or logging.INFO, logging.INFO)
    assert ROOT.level == level and "INFO told" in (tmp_path / LOG_FILE).read_text()


def test_verbose_prints_the_same(few, data, tmp_path):
    """Sentences for the user, here why a micrograph failed, are printed once."""
    words = ["pick", few, "--templates", data / "side.mrcs", "--diameter", 120, "--angle-step", 0]
    command = forked_python.words("-m", "napari_gempick", *words, "-o", tmp_path / "out", "--verbose")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    printed = [line[20:] for line in done.stderr.splitlines() if LINE.match(line)]
    logged = read(tmp_path / "out")
    assert printed == [line for line in logged if not line.startswith("WARNING")] and len(logged) > len(printed) > 4
    assert done.stderr.count("torn.mrc is truncated") == 1
