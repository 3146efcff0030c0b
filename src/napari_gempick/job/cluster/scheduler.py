"""Run a scheduler's commands, and ask it whether it still knows a job; in finite time."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from typing import TYPE_CHECKING

from napari_gempick.model.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.job.cluster.site import Command

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
    job_id : str
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
        if process.poll() is None:  # it, and what it has started
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)
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
