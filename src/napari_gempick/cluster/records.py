"""What must be right in the files of a job folder, and the log of each rank.

A log has one JSON object a line, appended as things happen; `status` reads nothing else.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from napari_gempick.io.names import Below, FilePath, Writable
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


class _Stored(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class _Micrograph(_Stored):
    path: FilePath
    relative: Below
    whole_name: bool = False
    pixel_size: FiniteFloat | None = None


class _JobFile(_Stored):
    bytes: NonNegativeInt
    blake2b: str


class JobRecord(_Stored):
    """job.json."""

    settings: dict[str, Any]
    cluster: dict[str, Any]
    root: Writable | None
    local_root: Writable | None = None
    micrographs: list[_Micrograph]
    files: dict[Below, _JobFile]
    distribution: Literal["micrographs", "templates"]
    memory: NonNegativeFloat | None
    plan_of: dict[str, Any]
    script: dict[str, Any] | None = None
    notes: list[str] = []


class _Coverage(_Stored):
    search_images: NonNegativeInt
    pairs: NonNegativeInt
    least: NonNegativeInt
    most: NonNegativeInt


class MicrographRecord(_Stored):
    """A micrograph's record: the coverage comes first, then its line of run.json and its files."""

    coverage: _Coverage
    row: dict[str, Any] | None = None
    files: dict[Below, list[int | str]] = {}


class _Device(_Stored):
    name: str
    threads: PositiveInt | None = None
    model: str | None = None


class Event(_Stored):
    """A line of a rank's log, with what its kind needs."""

    event: str
    attempt: NonNegativeInt
    rank: NonNegativeInt
    time: float = Field(ge=0, lt=1e11)
    host: str | None = None
    ranks: PositiveInt | None = None
    devices: list[_Device] | None = None
    plan: dict[str, Any] | None = None
    name: str | None = None
    state: Literal["done", "failed", "kept"] | None = None
    images: int | None = Field(None, ge=0, lt=10**15)
    seconds: float | None = Field(None, ge=0, lt=1e11)

    @model_validator(mode="after")
    def _whole(self) -> Event:
        needed = {
            "start": (self.host, self.ranks, self.devices, self.plan),
            "micrograph": (self.name, self.state),
            "share": (self.images, self.seconds),
        }
        if None in needed.get(self.event, ()):
            raise ValueError(f"an event {self.event} without its values")
        return self


_NAME = re.compile(r"attempt-(\d+)-rank-(\d+)\.jsonl")


class RankLog:
    """Appends events of one rank to its file."""

    def __init__(self, folder: Path, attempt: int, rank: int) -> None:
        self.path = folder / f"attempt-{attempt:03d}-rank-{rank:05d}.jsonl"
        self._common = {"attempt": attempt, "rank": rank}

    def start(self, **values: Any) -> None:
        """Note that the rank has begun."""
        self.write("start", host=socket.gethostname(), process=os.getpid(), **values)

    def write(self, event: str, **values: Any) -> None:
        """Append an event."""
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
