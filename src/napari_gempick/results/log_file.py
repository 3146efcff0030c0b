"""The log of a run in its folder: what was done, when and with which devices, and what was skipped and why."""

from __future__ import annotations

import contextlib
import json
import logging
import platform
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick import __version__
from napari_gempick.results.run_file import RUN_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOG = logging.getLogger(__name__)
LOG_FILE = "gempick.log"
FORMAT = "%(asctime)s %(levelname)s %(message)s"
ROOT = logging.getLogger("napari_gempick")

TOLD = {"told": True}
"""Marks a message that the user reads elsewhere."""

_levels = threading.Lock()
_handlers, _level = 0, logging.NOTSET


class _LogFile(logging.FileHandler):
    """Appends to the log of a folder once the run that is logged has written run.json: a refused one changes nothing.

    What cannot be written, on a full disk or in a folder that has vanished, is left out.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / LOG_FILE, encoding="utf-8", errors="backslashreplace", delay=True)
        self._run = folder / RUN_FILE
        self._before = self._written()
        self._waiting: list[logging.LogRecord] = []

    def _written(self) -> tuple[int, int] | None:
        try:
            found = self._run.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def emit(self, record: logging.LogRecord) -> None:
        self._waiting.append(record)
        path = Path(self.baseFilename)
        if self._written() in (None, self._before) or path.is_symlink() or (path.exists() and not path.is_file()):
            return
        while self._waiting:
            with contextlib.suppress(OSError, ValueError):
                super().emit(self._waiting.pop(0))

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().close()


class _OneLine(logging.Formatter):
    """A record with a date, and its text on one line."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\r", "\\r").replace("\n", "\n    ")


@contextlib.contextmanager
def listening(handler: logging.Handler) -> Iterator[None]:
    """Send the messages of this package, from INFO on, to a handler for a block."""
    global _handlers, _level
    handler.setFormatter(_OneLine(FORMAT, "%Y-%m-%d %H:%M:%S"))
    with _levels:
        if not _handlers:
            _level = ROOT.level
            ROOT.setLevel(min(ROOT.getEffectiveLevel(), logging.INFO))
        _handlers += 1
        ROOT.addHandler(handler)
    try:
        yield
    finally:
        with _levels:
            ROOT.removeHandler(handler)
            _handlers -= 1
            if not _handlers:
                ROOT.setLevel(_level)
        handler.close()


@contextlib.contextmanager
def logged_in(folder: Path, task: str) -> Iterator[None]:
    """Append the messages of a block to the log of a results folder, if the block writes run.json.

    Parameters
    ----------
    task : str
        What the block does, in a word.
    """
    with listening(_LogFile(folder)):
        LOG.info("%s: napari-gempick %s, Python %s", task, __version__, platform.python_version())
        try:
            yield
            LOG.info("%s has ended", task)
        except BaseException as error:
            LOG.error("%s has ended: %s", task, getattr(error, "sentence", None) or repr(error))
            raise


def log_facts(**facts: Any) -> None:
    """Log facts that JSON can hold, each as `name: value`, in one message."""
    known = {name: value for name, value in facts.items() if value not in (None, [], {})}
    told = (f"{name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in known.items())
    LOG.info("%s", "; ".join(told))


def logged(notify: Callable[[str], None], log: logging.Logger) -> Callable[[str], None]:
    """Return what tells the user a sentence and logs it."""

    def tell(sentence: str) -> None:
        log.warning("%s", sentence, extra=TOLD)
        notify(sentence)

    return tell
