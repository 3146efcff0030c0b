"""Ctrl-C, SIGTERM, a closed pipe, a second run in the same folder, and terminals without letters."""

import os
import signal
import subprocess
import sys
import time

import pytest

from napari_gempick.device.locks import give_back, take
from napari_gempick.io.stack import write_mrc

SLOW = ("--angle-step", "0.25")  # 1,440 rotated templates a micrograph
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture
def started(data, basic, plan_cache):
    """Start the command in a process of its own; ended whatever happens."""
    processes = []

    def start(*arguments, **more):
        command = [sys.executable, "-m", "napari_gempick", *map(str, arguments)]
        env = {**os.environ, "GEMPICK_CACHE": str(plan_cache), **more.pop("env", {})}
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, **more))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def working(data, process, seconds=60, marker="out/run.json"):
    """Wait until the search has begun."""
    end = time.monotonic() + seconds
    while not (data / marker).exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", STATUS)
def test_one_signal_stops_with_a_sentence(data, basic, started, number):
    process = started("pick", "grid1", "grid2", *basic, *SLOW, "-o", "out")
    working(data, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == STATUS[number]
    assert "Stopped." in said and "Traceback" not in said
    assert not list((data / "out").rglob(".*")), "neither lock nor temporary file is left"


@pytest.mark.parametrize("number", STATUS)
def test_while_modules_are_loaded(data, started, number):
    """At eight moments of the start; before our first line Python itself answers."""
    for moment in range(8):
        process = started("pick", "--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
        for line in process.stderr:  # the interpreter says which modules it has loaded
            if "napari_gempick.__main__" in line or "napari_gempick " in line:
                break
        time.sleep(0.01 * moment)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
        assert process.returncode in (0, STATUS[number]), said[-500:]
        assert "Traceback" not in said
        if process.returncode:
            assert said.rstrip().endswith("Stopped.")


@pytest.mark.parametrize("number", STATUS)
def test_a_library_that_wraps_the_interrupt_in_an_error_of_its_own(tmp_path, number):
    """Extension modules do so while they are loaded: what they raise then is not the fault of the program."""
    code = (
        "import os, sys\n"
        "from napari_gempick import cli\n"
        "def loads():\n"
        f"    try: os.kill(os.getpid(), {number})\n"
        "    except KeyboardInterrupt as error: raise RuntimeError('a schema cannot be built') from error\n"
        "cli.run = loads\n"
        "from napari_gempick.__main__ import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (STATUS[number], "Stopped.\n")


def test_the_second_signal_ends_at_once(data, basic, started):
    code = (
        "import sys, time\n"
        "from napari_gempick.engine.matching import pipeline\n"
        "def hangs(*_, **__):\n"
        "    open('hanging', 'w').close()\n"
        "    time.sleep(60)\n"
        "pipeline._landed = hangs\n"
        "sys.argv[0] = 'gempick'\n"
        "from napari_gempick.__main__ import main; main()\n"
    )
    (data / "hangs.py").write_text(code)
    command = [sys.executable, "hangs.py", "pick", "grid1", *basic, "-o", "out"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        working(data, process, marker="hanging")
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=5)
        assert process.returncode == 130 and "once more to end at once" in said and "Stopped at once." in said
    finally:
        process.kill()
        process.communicate()


def test_a_second_run_in_the_same_folder_is_refused(data, gempick, basic):
    (data / "out").mkdir()
    lock = take(data / "out/.gempick.lock")
    done = gempick("pick", "grid1", *basic, "-o", "out", check=2, own_process=True)
    assert "Another run is writing to out; wait until it has finished" in done.stderr
    give_back(lock)
    gempick("pick", "grid1", *basic, "-o", "out", check=0)
    assert not (data / "out/.gempick.lock").exists()


def test_a_closed_pipe_is_no_traceback(data, basic, started):
    process = started("devices")
    process.stdout.close()
    process.wait(timeout=60)
    assert "Traceback" not in process.stderr.read()


def test_any_name_on_any_terminal(data, basic, gempick):
    os.rename("grid1/mic.mrc", "grid1/mikrografía_中.mrc")
    env = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = gempick("pick", "grid1", *basic, "-o", "out", check=0, env=env)
    assert "mikrograf" in done.stdout and "Traceback" not in done.stderr
    write_mrc("grid1/leer_ü.mrc", micrograph_of_zeros(), 2.0)
    done = gempick("pick", "grid1/leer_ü.mrc", *basic, "-o", "other", check=2, env=env)
    assert "leer_" in done.stderr and "constant" in done.stderr


def micrograph_of_zeros():
    import numpy as np

    return np.zeros((250, 260), np.float32)
