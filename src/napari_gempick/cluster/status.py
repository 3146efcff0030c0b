"""How far a job is: from its files, and from the scheduler where they leave it open; also while it runs."""

from __future__ import annotations

import datetime
import re
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.records import read_logs
from napari_gempick.cluster.script import LOCAL
from napari_gempick.cluster.submit import id_values, is_running, knows_job, site_of, submissions
from napari_gempick.model.errors import GempickError
from napari_gempick.model.values import counted

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.cluster.folder import Job

_LAST = 4000
LOST = "ended without a result"
ASK_AFTER = 5.0
"""Seconds without an event after which the scheduler is asked whether it still knows a running job."""
_LOGS = re.compile(r".*\.(?:out|err|log|[oe]\d+)")
"""Names of logs that schedulers write into the job folder where a script does not say where to."""
QUIET = 2.0
"""A job is called silent after this many times its usual time between events, plus a minute."""


@dataclass(frozen=True)
class RankStatus:
    """One rank of the last attempt.

    Attributes
    ----------
    micrographs : int
        Finished in this attempt.
    images_per_second : float or None
        Rotated templates scored per second of searching.
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
        micrographs left), "silent" (nothing was heard for longer than usual), "ended without a result" (no rank has
        reported, and the scheduler knows the job no longer).
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
    remark : str
        Why the scheduler could not be asked; empty where it answered or there was no need to ask.
    log : tuple of str
        The last lines of the log of a job that ended without a result.
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
    remark: str = ""
    log: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def job_status(folder: Path | str, *, ask: bool = True, site: str | None = None) -> Status:
    """Return how far a job is.

    Parameters
    ----------
    folder : Path or str
    ask : bool
        Ask the scheduler as well, where the files leave open whether the job lives.
    site : str, optional
        As for `submit_job`.

    Raises
    ------
    SettingsError
        It is not a job folder.

    Examples
    --------
    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, diameter=385, angle_step=30)
    >>> made = gp.export_job(settings, "micrograph_002.mrc", "new_job", {"site": "mpirun"})
    >>> status = gp.job_status("new_job")
    >>> status.done, status.total
    (0, 1)
    """
    job = open_job(folder)
    now = _from_files(job)
    open_ = now.state in ("submitted", "running", "silent")
    quiet = min((rank.seconds_ago for rank in now.ranks), default=ASK_AFTER)
    if not (ask and open_ and now.job_id and (now.state != "running" or quiet >= ASK_AFTER)):
        return now
    try:
        job, place = site_of(job, site, "status")
        if not place.status or place.status == LOCAL:
            return now
        command = place.command(place.status, id_values(job, place, now.job_id))
        if knows_job(command, job.folder, now.job_id, {job.cluster.job_name}):
            return now
    except GempickError as error:
        return replace(now, remark=f"This comes from the job's files only: {error.sentence.rstrip('.')}.")
    now = _from_files(job)  # the last lines may have come meanwhile
    if now.state == "submitted":
        return _lost(job, now)
    if now.state in ("running", "silent"):
        return replace(now, state="stopped" if now.done + now.failed < now.total else "complete", seconds_left=None)
    return now


def _lost(job: Job, now: Status) -> Status:
    return replace(now, state=LOST, log=last_lines(job.folder))


def _from_files(job: Job) -> Status:
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
    pace = max(0.0, max(finished) - begun) / len(finished) if finished else None
    ended = {row["rank"] for row in current if row["event"] == "end"}
    newer = bool(made) and _seconds(made[-1].time) > max((row["time"] for row in current), default=0.0)
    if newer or not current:
        state = "submitted" if newer else "exported"
    elif len(ended) >= len(ranks):
        state = "complete" if left == 0 else "stopped"
    elif is_running(job) is False:
        state = "stopped" if left else "complete"
    elif min(rank.seconds_ago for rank in ranks) > 60 + QUIET * (pace or 0.0) * len(ranks):
        state = "silent"
    else:
        state = "running"
    found = Status(
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
    return _lost(job, found) if state == "submitted" and is_running(job) is False else found


def _seconds(time_: str) -> float:
    """Return a submission's time in seconds since 1970; 0 where it cannot be read."""
    try:
        return datetime.datetime.fromisoformat(time_).timestamp()
    except (TypeError, ValueError):
        return 0.0


def last_words(folder: Path) -> str:
    """Return the last line that the scheduler or the program has printed; empty where there is none."""
    return next(reversed(last_lines(folder, 1)), "")


def last_lines(folder: Path, count: int = 10) -> tuple[str, ...]:
    """Return the last lines of the newest log that has any."""
    logs = [*(folder / "log").glob("*"), *(path for path in folder.glob("*") if _LOGS.fullmatch(path.name))]
    files = sorted((path for path in logs if path.is_file()), key=lambda path: path.stat().st_mtime)
    for path in reversed(files):
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _LAST))
            lines = stream.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return tuple(said[-count:])
    return ()


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
    return counted(one["threads"], "thread") if "threads" in one else str(one["name"])
