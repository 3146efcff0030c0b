"""The window's end of the search process: requests go in, events come out, and it can always be stopped."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = [sys.executable, "-m", "napari_gempick.window_worker"]
PATIENCE = 0.7
"""Seconds for a cancelled search to stop by itself, before its process is ended."""


class SearchProcess:
    """Starts `napari_gempick.window_worker` when it is first needed, and again after it was ended.

    Parameters
    ----------
    heard : callable
        Gets every event, on a thread of its own; `{"event": "ended", "reason": ...}` when the process is gone.

    Notes
    -----
    Requests are written on a thread too: a pipe holds 64 KiB, and a process that is busy does not read it.
    """

    def __init__(self, heard: Callable[[dict[str, Any]], None]) -> None:
        self._heard = heard
        self._process: subprocess.Popen[str] | None = None
        self._requests: queue.Queue[str | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        self._last_words: deque[str] = deque(maxlen=20)
        self._timer: threading.Timer | None = None
        self._closed = False

    def ask(self, **request: Any) -> None:
        """Send a request; returns at once, whether or not the process reads it. After `close` nothing is sent."""
        if self._closed:
            return
        if self._process is None or self._process.poll() is not None:
            self._start()
        self._requests.put(json.dumps(request) + "\n")

    def _start(self) -> None:
        process = subprocess.Popen(
            PROGRAM,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._process = process
        self._last_words.clear()
        self._requests.put(None)  # ends the thread that wrote to an earlier process
        self._requests = queue.Queue()
        self._threads = [
            threading.Thread(target=_write, args=(process, self._requests), name="gempick requests", daemon=True),
            threading.Thread(target=self._listen, args=(process,), name="gempick events", daemon=True),
            threading.Thread(target=self._keep_last_words, args=(process,), name="gempick log", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] in ("done", "failed"):
                self._stop_timer()
            self._heard(event)
        process.wait()
        self._heard({"event": "ended", "reason": next(iter(reversed(self._last_words)), "")})

    def _keep_last_words(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._last_words.extend(line.strip() for line in process.stderr if line.strip())

    def cancel(self, run: int) -> None:
        """Stop a run: asked first, then by ending the process. Files are written atomically, so nothing is torn."""
        self.ask(cancel=run)
        process = self._process
        self._stop_timer()
        if process is not None:
            self._timer = threading.Timer(PATIENCE, process.kill)
            self._timer.daemon = True
            self._timer.start()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """End the process and its threads, for good: a window that closes may still have timers that ask."""
        self._closed = True
        self._stop_timer()
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        self._requests.put(None)
        for thread in self._threads:
            thread.join(2)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _write(process: subprocess.Popen[str], requests: queue.Queue[str | None]) -> None:
    """Write requests until None comes or the process is gone, which its reader reports; then close its input."""
    assert process.stdin is not None
    with contextlib.suppress(OSError), process.stdin as stream:
        while (request := requests.get()) is not None:
            stream.write(request)
            stream.flush()
