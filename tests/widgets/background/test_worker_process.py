"""The process behind the window, when it does not do what it should."""

import subprocess
import sys
import threading

import pytest

from napari_gempick.widgets.background import worker_process as module
from napari_gempick.widgets.background.worker_process import SearchProcess

GUARD = 30
"""Seconds after which a test that waits in vain fails."""


@pytest.fixture
def deaf(monkeypatch):
    """Search processes that never read what they are asked."""
    real = subprocess.Popen

    def start(command, **options):
        return real([sys.executable, "-c", "import time; time.sleep(600)"], **options)

    monkeypatch.setattr(module.subprocess, "Popen", start)


@pytest.mark.parametrize("size", [1 << 17, 1 << 22])
def test_a_process_that_does_not_read_blocks_nobody(deaf, size):
    before = set(threading.enumerate())
    events = []
    search, returned = SearchProcess(events.append), threading.Event()

    def ask():
        for number in range(3):
            search.ask(run=number, micrographs="x" * size)
        returned.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    try:
        assert returned.wait(GUARD), "a large request waits for the process to read it"
    finally:
        search.close()
    asking.join(GUARD)
    assert [event["event"] for event in events] == ["ended"]
    assert {thread for thread in threading.enumerate() if thread.is_alive()} <= before


def test_large_requests_arrive_whole_and_in_order(monkeypatch):
    """A worker that answers with the number and the length of each request."""
    real = subprocess.Popen
    code = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    print(json.dumps({'event': 'heard', 'run': request['run'], 'size': len(request['text'])}), flush=True)\n"
    )
    monkeypatch.setattr(
        module.subprocess, "Popen", lambda command, **options: real([sys.executable, "-c", code], **options)
    )
    heard, complete = [], threading.Event()

    def take(event):
        heard.append(event)
        if len(heard) == 4:
            complete.set()

    search = SearchProcess(take)
    sizes = [5, 1 << 20, 70_000, 1]
    for number, size in enumerate(sizes):
        search.ask(run=number, text="é" * size)
    assert complete.wait(GUARD)
    search.close()
    assert [(event["run"], event["size"]) for event in heard[:4]] == list(enumerate(sizes))


def test_another_process_is_started_after_one_has_ended(monkeypatch):
    real = subprocess.Popen
    code = 'import sys; print(\'{"event": "heard"}\', flush=True) if sys.stdin.readline() else None'
    monkeypatch.setattr(
        module.subprocess, "Popen", lambda command, **options: real([sys.executable, "-c", code], **options)
    )
    before = set(threading.enumerate())
    heard, ended = [], threading.Semaphore(0)

    def take(event):
        heard.append(event["event"])
        if event["event"] == "ended":
            ended.release()

    search = SearchProcess(take)
    for _ in range(2):
        search.ask(run=1)
        assert ended.acquire(timeout=GUARD)
    search.close()
    search.ask(run=2)  # a timer of a window that is gone
    assert heard == ["heard", "ended"] * 2
    for thread in set(threading.enumerate()) - before:
        thread.join(GUARD)
    assert {thread for thread in threading.enumerate() if thread.is_alive()} <= before
