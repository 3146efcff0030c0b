"""A rank's log: one JSON object a line, appended as things happen; `status` reads nothing else."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any

from napari_gempick.io.reading import readable
from napari_gempick.job.cluster.stored import Event
from napari_gempick.model.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"attempt-(\d+)-rank-(\d+)\.jsonl")


class RankLog:
    """Appends events of one rank to its file.

    Parameters
    ----------
    folder : Path
    attempt, rank : int
    """

    def __init__(self, folder: Path, attempt: int, rank: int) -> None:
        self.path = folder / f"attempt-{attempt:03d}-rank-{rank:05d}.jsonl"
        self._common = {"attempt": attempt, "rank": rank}

    def start(self, **values: Any) -> None:
        """Note that the rank has begun."""
        self.write("start", host=socket.gethostname(), process=os.getpid(), **values)

    def write(self, event: str, **values: Any) -> None:
        """Append an event.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        row = {"event": event, **self._common, "time": round(time.time(), 3), **values}
        try:
            with self.path.open("a", encoding="utf-8", errors="surrogateescape") as stream:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise OutputError(
                f"Cannot write {self.path}: {error.strerror or error}; free space and submit again.", self.path
            ) from error


def last_attempt(folder: Path) -> int:
    """Return the number of the last attempt; 0 before the first."""
    names = (_NAME.fullmatch(name) for name in (os.listdir(folder) if folder.is_dir() else []))
    return max((int(match[1]) for match in names if match), default=0)


def read_logs(folder: Path) -> list[dict[str, Any]]:
    """Return all events of all attempts, by attempt and rank; lines that are cut off or damaged are left out.

    Raises
    ------
    InputError
        A log cannot be read.
    """
    events: list[dict[str, Any]] = []
    names = sorted(name for name in (os.listdir(folder) if folder.is_dir() else []) if _NAME.fullmatch(name))
    for name in names:
        with readable(folder / name):
            text = (folder / name).read_text(encoding="utf-8", errors="surrogateescape")
        for line in text.split("\n"):
            try:
                row = json.loads(line)
                Event.model_validate(row)
            except (ValueError, RecursionError):  # a ValidationError is a ValueError
                continue
            events.append(row)
    return events
