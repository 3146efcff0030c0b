"""Hand a job folder to its scheduler, and cancel it.

Run a scheduler's commands, and ask it whether it still knows a job; in finite time.
"""

from __future__ import annotations

import contextlib
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
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from napari_gempick.cluster.folder import LAUNCHER, SCRIPT, open_job
from napari_gempick.cluster.script import LOCAL, find_site, site_values, write_script
from napari_gempick.cluster.site import confirm, is_confirmed, unconfirmed
from napari_gempick.io.atomic import write_text
from napari_gempick.io.reading import checked, read_json
from napari_gempick.model.errors import InputError, OutputError, SettingsError

if TYPE_CHECKING:
    from napari_gempick.cluster.folder import Job
    from napari_gempick.cluster.site import Command, Site

SUBMITTED = "submitted.json"


class _SubmittedLine(BaseModel):
    """What must be right in a line of submitted.json."""

    model_config = ConfigDict(strict=True)

    job_id: str
    site: str
    time: str


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
    if not path.exists():
        return []
    try:
        rows = read_json(path)
        if not isinstance(rows, list):
            raise InputError(f"{path} is not a list of submissions; delete it.", path)
        return [Submission(**checked(_SubmittedLine, row, path, "delete the file").model_dump()) for row in rows]
    except InputError as error:
        raise SettingsError(error.sentence, path) from error


def site_of(job: Job, given: str | None, action: str) -> tuple[Job, Site]:
    """Return a job and its site; `given`, the site that the user names for this action, wins and is kept.

    Raises
    ------
    SettingsError
        job.json names a folder that this user never named: its commands are shown, not run.
    """
    site = find_site(given or job.cluster.site)
    if given is not None:
        confirm(site)
        name = str(site.lane or given)
        if name != job.cluster.site:
            job = job.rewritten(cluster={**job.content["cluster"], "site": name})
    elif not is_confirmed(site):
        raise unconfirmed(site, job, action)
    return job, site


def submit_job(folder: Path | str, *, root: str | None = None, site: str | None = None) -> Submission:
    """Submit a job, or its unfinished part; the job's number is kept in the folder.

    Parameters
    ----------
    folder : Path or str
    root : str, optional
        Path of the micrographs' root on the cluster; remembered for later submissions.
    site : str, optional
        The job's site, where it is a folder that was not named on this machine yet; or another one, from now on.

    Raises
    ------
    GempickError
        The folder is damaged or cannot be written, or the scheduler refuses.

    Examples
    --------
    The site mpirun is this computer; here the job is waited for, and its results are collected.

    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, diameter=385, angle_step=30)
    >>> made = gp.export_job(settings, "micrograph_002.mrc", "sent_job", {"site": "mpirun", "tasks_per_node": 1})
    >>> sent = gp.submit_job("sent_job")
    >>> wait_for(lambda: gp.job_status("sent_job").state == "complete")
    >>> run = gp.collect_job("sent_job")
    >>> run["micrographs"][0]["picks"] > 0
    True
    """
    job = open_job(folder)
    job.check_files()
    job.check_writable()
    if root is not None:
        if job.content["root"] is None:
            raise SettingsError(f"The micrographs of {folder} are listed with absolute paths; export with --root.")
        job = job.rewritten(root=root)
    job, place = site_of(job, site, "submit")
    job = _script_in_place(job, place)
    job_id = _start(job) if place.submit == LOCAL else _hand_over(job, place)
    made = Submission(job_id, place.name, datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"))
    rows = [asdict(row) for row in (*submissions(job.folder), made)]
    write_text(job.folder / SUBMITTED, json.dumps(rows, indent=1) + "\n")
    return made


def cancel_job(folder: Path | str, *, site: str | None = None) -> str:
    """End the job that was submitted last; return its number; `site` as for `submit_job`.

    Raises
    ------
    SettingsError
        Nothing was submitted, or the scheduler refuses.

    Examples
    --------
    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, diameter=385, angle_step=0.5)
    >>> made = gp.export_job(settings, "micrograph_002.mrc", "ended_job", {"site": "mpirun", "tasks_per_node": 1})
    >>> sent = gp.submit_job("ended_job")
    >>> gp.cancel_job("ended_job") == sent.job_id
    True
    """
    job = open_job(folder)
    made = submissions(job.folder)
    if not made:
        raise SettingsError(f"{folder} was not submitted; there is nothing to cancel.")
    job, place = site_of(job, site, "cancel")
    last = made[-1]
    if place.cancel == LOCAL:
        host, _, process = last.job_id.partition(":")
        if host != socket.gethostname():
            raise SettingsError(f"The job runs on {host}; cancel it there.")
        if not _is_ours(int(process), job):
            raise SettingsError(f"The job {last.job_id} has ended.")
        os.killpg(int(process), signal.SIGTERM)
    elif not place.cancel:
        raise SettingsError(f"The site {place.name!r} does not say how to cancel; cancel {last.job_id} by hand.")
    else:
        run_command(place.command(place.cancel, id_values(job, place, last.job_id)), job.folder)
    return last.job_id


def id_values(job: Job, site: Site, job_id: str) -> dict[str, Any]:
    """Return the values of the names that commands about a submitted job may use."""
    return {**site_values(job, site, str(job.folder / LAUNCHER)), "job_id": job_id, "cluster_job_id": job_id}


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
    if text is None or text == known.get("text"):
        return write_script(job, site)
    if known.get("folder") == str(job.folder):
        return job
    if known.get("folder") and shlex.quote(known["folder"]) in text:
        raise SettingsError(
            f"{path} was edited and names the job's earlier folder {known['folder']}; correct it, or delete it to have "
            "it written again.",
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
    script = job.folder / SCRIPT
    command = site.command(site.submit, id_values(job, site, ""))
    given = script.read_bytes() if site.stdin or command.stdin == str(script) else b""
    if command.stdin is not None and not given:
        raise SettingsError(f"The site {site.name!r} submits {command.stdin}, and the script is {script}; correct it.")
    said = run_command(command, job.folder, given)
    for pattern in site.job_id:
        if match := re.search(pattern, said, re.MULTILINE):
            return match[1]
    raise SettingsError(
        f"The scheduler of {site.name!r} did not return a job number; its output was: {said.strip() or 'nothing'}."
    )


TIMEOUT = 120.0
ASK_TIMEOUT = 20.0
_UNKNOWN = re.compile(
    r"invalid job id|unknown job|not exist|not found|no (?:matching )?job|no unfinished job|has finished", re.IGNORECASE
)
_ENDED = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
    "BF", "CA", "CD", "DL", "F", "NF", "OOM", "TO",  # Slurm, F also PBS Pro
    "C", "DONE", "EXIT",  # Torque, LSF
}  # fmt: skip


def run_command(command: Command, folder: Path, given: bytes = b"") -> str:
    """Run a command in a folder and return what it prints.

    Raises
    ------
    GempickError
        It is not installed, failed, or took longer than TIMEOUT.
    """
    words = command.words
    try:
        done = subprocess.run(words, cwd=folder, input=given, capture_output=True, timeout=TIMEOUT, check=False)
    except FileNotFoundError as error:
        raise SettingsError(f"{words[0]} is not installed here; submit on a machine of the cluster.") from error
    except subprocess.TimeoutExpired as error:
        raise OutputError(f"{shlex.join(words)} did not end within {TIMEOUT:g} s; ask your administrator.") from error
    except (OSError, ValueError) as error:
        raise OutputError(f"{shlex.join(words)} failed: {error}.") from error
    out, err = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    if done.returncode != 0:
        raise SettingsError(f"{words[0]} refused the job: {(err or out).strip() or f'status {done.returncode}'}.")
    return out


def knows_job(command: Command, folder: Path, job_id: str, names: set[str]) -> bool:
    """Return whether the scheduler knows a job that has not ended.

    Parameters
    ----------
    command : Command
        Prints a line that has the job's number, or its state only.
    folder : Path
        Where it runs.
    names : set of str
        Words that say nothing about its state, such as the job's name.

    Raises
    ------
    OutputError
        The scheduler gives no answer, or none within ASK_TIMEOUT.
    """
    words = command.words
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise OutputError(f"the scheduler cannot be asked here ({words[0]}: {error})") from error
    try:
        raw, raw_error = process.communicate(timeout=ASK_TIMEOUT)
    except subprocess.TimeoutExpired:
        raise OutputError(f"{words[0]} did not answer within {ASK_TIMEOUT:g} s") from None
    finally:
        if process.poll() is None:  # it, and the processes that it started
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    out, err = raw.decode(errors="replace"), raw_error.decode(errors="replace")
    if _UNKNOWN.search(err) or (process.returncode != 0 and _UNKNOWN.search(out)):
        return False
    if process.returncode != 0:
        said = (err or out).strip().splitlines()
        raise OutputError(f"{words[0]} failed ({said[-1] if said else f'status {process.returncode}'})")
    number = job_id.split(".")[0]
    rows = [line.split() for line in out.splitlines() if re.search(rf"(?<!\d){re.escape(number)}(?!\d)", line)]
    if not rows and len(out.split()) == 1:  # a state only
        rows = [out.split()]
    return any(not _ENDED & (set(row) - names) for row in rows)
