"""Hand a job folder to its scheduler, and cancel it."""

from __future__ import annotations

import datetime
import json
import os
import re
import shlex
import signal
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gempick.io.atomic import write_text
from napari_gempick.job.cluster.folder import SCRIPT, open_job
from napari_gempick.job.cluster.script import LOCAL, find_site, write_script
from napari_gempick.model.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from napari_gempick.job.cluster.folder import Job
    from napari_gempick.job.cluster.script import Site

SUBMITTED = "submitted.json"
TIMEOUT = 120.0


@dataclass(frozen=True)
class Submission:
    """A job that was handed over.

    Attributes
    ----------
    job_id : str
        The scheduler's number; without a scheduler, host:process.
    site : str
    time : str
        UTC.
    """

    job_id: str
    site: str
    time: str


def submissions(folder: Path) -> list[Submission]:
    """Return what was submitted from a job folder, the last one last."""
    path = folder / SUBMITTED
    try:
        return [Submission(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{path} cannot be read ({error}); delete it.", path) from error


def submit_job(folder: Path | str, *, root: str | None = None) -> Submission:
    """Submit a job, or what is missing of it; the job's number is kept in the folder.

    Parameters
    ----------
    folder : Path or str
    root : str, optional
        Where the micrographs' root lies on the cluster, from now on.

    Raises
    ------
    GempickError
        The folder is damaged or cannot be written, or the scheduler refuses.
    """
    job = open_job(folder)
    job.check_files()
    job.check_writable()
    if root is not None:
        if job.content["root"] is None:
            raise SettingsError(f"The micrographs of {folder} are listed with absolute paths; export with --root.")
        job = job.rewritten(root=root)
    site = find_site(job.cluster.site)
    job = _script_in_place(job, site)
    job_id = _start(job) if site.submit == LOCAL else _hand_over(job, site)
    made = Submission(job_id, site.name, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    rows = [asdict(row) for row in (*submissions(job.folder), made)]
    write_text(job.folder / SUBMITTED, json.dumps(rows, indent=1) + "\n")
    return made


def cancel_job(folder: Path | str) -> str:
    """End the job that was submitted last; return its number.

    Raises
    ------
    SettingsError
        Nothing was submitted, or the scheduler refuses.
    """
    job = open_job(folder)
    made = submissions(job.folder)
    if not made:
        raise SettingsError(f"{folder} was not submitted; there is nothing to cancel.")
    site, last = find_site(job.cluster.site), made[-1]
    if site.cancel == LOCAL:
        host, _, process = last.job_id.partition(":")
        if host != socket.gethostname():
            raise SettingsError(f"The job runs on {host}; cancel it there.")
        if not _is_ours(int(process), job):
            raise SettingsError(f"The job {last.job_id} has ended.")
        os.killpg(int(process), signal.SIGTERM)
    elif not site.cancel:
        raise SettingsError(f"The site {site.name!r} does not say how to cancel; cancel {last.job_id} by hand.")
    else:
        _run(site.words(site.cancel, job_id=last.job_id), job)
    return last.job_id


def is_running(job: Job) -> bool | None:
    """Return whether the job that was submitted last runs on this machine; None where only the scheduler knows."""
    made = submissions(job.folder)
    host, separator, process = made[-1].job_id.partition(":") if made else ("", "", "")
    if not separator or host != socket.gethostname() or not process.isdigit():
        return None
    return _is_ours(int(process), job)


def _is_ours(process: int, job: Job) -> bool:
    """Whether a process is a job of this folder; numbers of processes are used again."""
    try:
        return Path(f"/proc/{process}/cwd").resolve() == job.folder.resolve()
    except OSError:
        return False


def _script_in_place(job: Job, site: Site) -> Job:
    """Write the script when it is missing or the folder has moved; one that was edited stays."""
    path, known = job.folder / SCRIPT, job.content.get("script") or {}
    text = path.read_text(encoding="utf-8") if path.exists() else None
    if text is None:
        return write_script(job, site)
    if known.get("folder") == str(job.folder):
        return job
    if text == known.get("text"):
        return write_script(job, site)
    if known.get("folder") and shlex.quote(known["folder"]) in text:
        raise SettingsError(
            f"{path} was edited and names the job's earlier folder {known['folder']}; correct it, or delete it to have "
            "it written anew.",
            path,
        )
    return job


def _start(job: Job) -> str:
    """Start the job on this machine, apart from this process."""
    log = job.folder / "log" / "job.txt"
    log.parent.mkdir(exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["bash", f"./{SCRIPT}"],
            cwd=job.folder,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return f"{socket.gethostname()}:{process.pid}"


def _hand_over(job: Job, site: Site) -> str:
    script = str(job.folder / SCRIPT)
    said = _run(site.words(site.submit, script=script), job, (job.folder / SCRIPT).read_bytes() if site.stdin else b"")
    match = re.search(site.job_id, said, re.MULTILINE)
    if match is None:
        raise SettingsError(f"The scheduler of {site.name!r} named no job; it said: {said.strip() or 'nothing'}.")
    return match[1]


def _run(words: list[str], job: Job, given: bytes = b"") -> str:
    try:
        done = subprocess.run(words, cwd=job.folder, input=given, capture_output=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError as error:
        raise SettingsError(f"{words[0]} is not installed here; submit on a machine of the cluster.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OutputError(f"{shlex.join(words)} failed: {error}.") from error
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    if done.returncode != 0:
        raise SettingsError(f"{words[0]} refused the job: {(err or out).strip() or f'status {done.returncode}'}.")
    return out
