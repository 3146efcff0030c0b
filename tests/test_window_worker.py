"""The search process of the window: lines in, lines out; it adds to a folder, stops, and ends with its input."""

import io
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import forked_python
from helpers import Blobs
from napari_gempick.cluster import export
from napari_gempick.cluster.folder import open_job
from napari_gempick.io.stack import write_mrc
from napari_gempick.window_worker import WindowWorker


@pytest.fixture
def worker():
    command = forked_python.words("-m", "napari_gempick.window_worker")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(**request):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()

        def until(*events):
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] in events:
                    return event
            raise AssertionError("the worker ended")

        yield ask, until
        process.stdin.close()
        assert process.wait(20) == 0


@pytest.fixture
def request_for(tmp_path):
    noise = np.random.default_rng(0).standard_normal((200, 210)).astype(np.float32)
    for name in ("one", "two"):
        write_mrc(tmp_path / f"{name}.mrc", Blobs.image((200, 210), 2.0, [(90, 100)]) + 0.2 * noise, 2.0)
    write_mrc(tmp_path / "template.mrc", Blobs.image((80, 80), 2.0, [(40, 40)]), 2.0)

    def make(number, *names, **settings):
        settings = {"templates": [f"particle={tmp_path / 'template.mrc'}"], "angle_step": 30, **settings}
        rows = [{"name": name, "path": str(tmp_path / f"{name}.mrc")} for name in names]
        return {"run": number, "settings": settings, "micrographs": rows, "folder": str(tmp_path / "out")}

    return make


def test_runs_add_to_a_folder(worker, request_for, tmp_path):
    ask, until = worker
    ask(**request_for(1, "one"))
    assert until("micrograph")["row"]["name"] == "one"
    assert until("done") == {"run": 1, "event": "done", "state": "complete"}
    ask(**request_for(2, "two", "missing"))
    assert until("micrograph")["row"]["picks"] == 1
    assert "does not exist" in until("micrograph")["row"]["error"]
    until("done")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [row["name"] for row in run["micrographs"]] == ["one", "two", "missing"]
    assert (tmp_path / "out" / "autopick.star").read_text().count("_autopick.star") == 2


def test_wrong_settings_are_a_sentence(worker, request_for):
    ask, until = worker
    ask(**request_for(1, "one", threshold=["side=0.3"]))
    assert "there is no view 'side'" in until("failed")["sentence"]


def test_cancel(worker, request_for):
    ask, until = worker
    ask(**request_for(1, "one", "two", angle_step=0.1))
    until("progress")
    ask(cancel=1)
    assert until("done", "failed") == {"run": 1, "event": "done", "state": "stopped"}
    ask(machine=True)
    assert until("machine")["machine"]["cpu"]["threads"] >= 1


@pytest.mark.parametrize("moment", ["checksum", "write_script"])
def test_an_export_that_is_cancelled_leaves_nothing(request_for, tmp_path, monkeypatch, moment):
    """While it copies the first of two templates, and before it gets its name."""
    begun, answers = threading.Event(), io.StringIO()
    worker, real = WindowWorker(answers), getattr(export, moment)

    def hold(*args, **kwargs):
        assert not begun.is_set(), "it goes on"
        begun.set()
        assert worker._cancels[3].wait(30)
        return real(*args, **kwargs)

    def requests():
        cluster = {"site": "slurm", "python": "python3", "environment": ["true"]}
        place = str(tmp_path / "jobs" / "my job")
        two = [f"{view}={tmp_path / 'template.mrc'}" for view in ("side", "top")]
        yield json.dumps({**request_for(3, "one", templates=two), "export": {"folder": place, "cluster": cluster}})
        begun.wait(60)
        yield json.dumps({"cancel": 3})

    monkeypatch.setattr(export, moment, hold)
    worker.serve(requests())
    assert json.loads(answers.getvalue()) == {"run": 3, "event": "done", "state": "stopped"}
    assert not list((tmp_path / "jobs").rglob("*"))


@pytest.mark.parametrize("moment", ["checksum", "write_script"])
def test_an_export_that_is_killed_leaves_nothing_in_the_way(request_for, tmp_path, moment):
    """Stopped before a step of the export and killed there; then exported again, by a worker without a fault."""
    stop = (
        "import pathlib, time\n"
        "import napari_gempick.cluster.export as export\n"
        "from napari_gempick.window_worker import main\n"
        "def halt(*args, **kwargs):\n"
        f"    pathlib.Path({str(tmp_path / 'halted')!r}).touch()\n"
        "    time.sleep(600)\n"
        f"export.{moment} = halt\n"
        "main()\n"
    )
    place = tmp_path / "jobs" / "my job"
    cluster = {"site": "slurm", "python": "python3", "mpiexec": "mpiexec", "environment": ["true"]}
    request = {**request_for(1, "one"), "export": {"folder": str(place), "cluster": cluster}}

    def worker(code):
        return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    with worker(stop) as process:
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        while not (tmp_path / "halted").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    assert not place.exists()
    with worker("from napari_gempick.window_worker import main; main()") as process:
        said, _ = process.communicate(json.dumps(request) + "\n")
    events = [json.loads(line) for line in said.splitlines()]
    assert [event["event"] for event in events] == ["result", "done"], said
    assert events[0]["result"] == str(place)
    assert {path.name for path in place.parent.iterdir()} == {"my job"}
    job = json.loads((place / "job.json").read_text())
    assert job["script"] == {"folder": str(place), "text": (place / "submit.sh").read_text(), "launcher": None}
    assert ".tmp-" not in (place / "job.json").read_text() + (place / "submit.sh").read_text()
    assert (place / "submit.sh").stat().st_mode & 0o111
    open_job(place).check_files()
