"""How far a job is, from its files alone; also while it runs."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_gempick.job.cluster.folder import open_job
from napari_gempick.job.cluster.log import read_logs
from napari_gempick.job.cluster.submit import is_running, submissions

if TYPE_CHECKING:
    from pathlib import Path

_LAST = 4000
QUIET = 2.0
"""A job is called silent after so many times its usual time between events, and a minute."""


@dataclass(frozen=True)
class RankStatus:
    """One rank of the last attempt.

    Attributes
    ----------
    rank : int
    host : str
    devices : str
    micrographs : int
        Finished in this attempt.
    images_per_second : float or None
        Search images scored per second of searching.
    seconds_ago : float
        Since its last event.
    """

    rank: int
    host: str
    devices: str
    micrographs: int
    images_per_second: float | None
    seconds_ago: float


@dataclass(frozen=True)
class Status:
    """How far a job is.

    Attributes
    ----------
    state : str
        "exported", "submitted", "running", "complete" (every micrograph is done or failed), "stopped" (ended with
        micrographs left), "silent" (nothing was heard for longer than usual).
    total, done, failed : int
        Micrographs.
    job_id : str
        Of the last submission.
    attempt : int
    distribution : str
    seconds_left : float or None
        Estimated from this attempt's pace.
    ranks : tuple of RankStatus
    failures : tuple of str
        Names of micrographs that failed.
    """

    state: str
    total: int
    done: int
    failed: int
    job_id: str
    attempt: int
    distribution: str
    seconds_left: float | None
    ranks: tuple[RankStatus, ...]
    failures: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def job_status(folder: Path | str) -> Status:
    """Return how far a job is.

    Raises
    ------
    SettingsError
        It is no job folder.
    """
    job = open_job(folder)
    made = submissions(job.folder)
    events = read_logs(job.progress)
    attempt = max((row["attempt"] for row in events), default=0)
    states: dict[str, str] = {}
    for row in sorted(events, key=lambda row: row["time"]):
        if row["event"] == "micrograph" and row.get("name") in job.numbers:
            states[row["name"]] = row["state"]
    failures = tuple(name for name, state in states.items() if state == "failed")
    left = len(job.micrographs) - len(states)
    current = [row for row in events if row["attempt"] == attempt]
    now = time.time()
    ranks = _ranks(current, now)
    finished = [row["time"] for row in current if row["event"] == "micrograph" and row["state"] != "kept"]
    begun = min((row["time"] for row in current if row["event"] == "start"), default=now)
    pace = (max(finished) - begun) / len(finished) if finished else None
    ended = {row["rank"] for row in current if row["event"] == "end"}
    newer = len(made) > 0 and attempt == 0
    if not current:
        state = "submitted" if newer else "exported"
    elif len(ended) >= len(ranks):
        state = "complete" if left == 0 else "stopped"
    elif is_running(job) is False:
        state = "stopped" if left else "complete"
    elif min(rank.seconds_ago for rank in ranks) > 60 + QUIET * (pace or 0.0) * len(ranks):
        state = "silent"
    else:
        state = "running"
    return Status(
        state,
        len(job.micrographs),
        len(states) - len(failures),
        len(failures),
        made[-1].job_id if made else "",
        attempt,
        job.content["distribution"],
        left * pace if pace is not None and state == "running" else 0.0 if left == 0 else None,
        ranks,
        failures,
    )


def last_words(folder: Path) -> str:
    """Return the last line that the scheduler or the program has printed; empty where there is none."""
    files = sorted((folder / "log").glob("*"), key=lambda path: path.stat().st_mtime)
    for path in reversed(files):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _LAST))
            lines = stream.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return said[-1]
    return ""


def _ranks(events: list[dict[str, Any]], now: float) -> tuple[RankStatus, ...]:
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in events:
        rows[row["rank"]].append(row)
    found = []
    for rank, own in sorted(rows.items()):
        start = next((row for row in own if row["event"] == "start"), {})
        shares = [row for row in own if row["event"] == "share"]
        images, seconds = sum(row["images"] for row in shares), sum(row["seconds"] for row in shares)
        done = sum(row["event"] == "micrograph" and row["state"] != "kept" for row in own)
        devices = ", ".join(_device(one) for one in start.get("devices", []))
        rate = images / seconds if seconds else None
        host = str(start.get("host", ""))
        found.append(RankStatus(rank, host, devices, done, rate, now - max(row["time"] for row in own)))
    return tuple(found)


def _device(one: dict[str, Any]) -> str:
    return f"{one['threads']} threads" if "threads" in one else str(one["name"])
