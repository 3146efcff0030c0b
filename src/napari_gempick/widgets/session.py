"""The session file: what a person did, saved beside the results while they work, and read when they come back."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

from napari_gempick.device.locks import Busy, give_back, take
from napari_gempick.io.atomic import write_text
from napari_gempick.io.names import is_below
from napari_gempick.io.reading import readable
from napari_gempick.job.results import INDEX_FILE, RUN_FILE, read_run
from napari_gempick.model.bank import BankIndex
from napari_gempick.model.errors import InputError, OutputError
from napari_gempick.widgets.loading import Result, results_of
from napari_gempick.widgets.reopening import state_of_run
from napari_gempick.widgets.session_format import VERSION, check_row, check_session
from napari_gempick.widgets.state import State, from_plain, to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SESSION_FILE = "session.json"
FOLDER_NAME = "gempick"
_LOCK = ".session.lock"


class SessionFolder:
    """A results folder that this window alone writes to.

    Parameters
    ----------
    path : Path
        Made when missing.

    Raises
    ------
    OutputError
        Another window has it open, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = take(path / _LOCK)
        except Busy:
            raise OutputError(
                f"{path} is open in another window; close it there or choose another folder.", path
            ) from None
        except OSError as error:
            raise OutputError(
                f"Cannot write to {path}: {error.strerror or error}; choose another folder.", path
            ) from error

    def save(self, state: State, results: Mapping[str, Result], current: str | None) -> None:
        """Write the session file atomically.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        content = {
            "session": VERSION,
            "current": current,
            "state": to_plain(state),
            "results": {stem: dataclasses.asdict(result) for stem, result in results.items()},
        }
        write_text(self.path / SESSION_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Let other windows open the folder."""
        give_back(self._lock)


def read_session(folder: Path) -> tuple[State, dict[str, Result], str | None]:
    """Read a session file: state, results by micrograph, and the micrograph that was shown.

    Raises
    ------
    InputError
        It is missing or damaged; the sentence names the field.
    """
    path = folder / SESSION_FILE
    if not os.path.lexists(path):
        raise InputError(
            f"{folder} holds no session ({SESSION_FILE} is missing); choose a folder that was worked in.", folder
        )
    with readable(path):
        text = path.read_bytes()
    content = check_session(text, path)
    results = {stem: _result(plain) for stem, plain in content["results"].items()}
    return from_plain(content["state"]), results, content["current"]


def _result(plain: dict[str, Any]) -> Result:
    bank = plain["bank"]
    return Result(**{**plain, "bank": None if bank is None else BankIndex(**bank)})


def read_folder(folder: Path) -> tuple[State, dict[str, Result], str | None]:
    """Read a folder of results, with a session or without; errors and values as `read_session`.

    Raises
    ------
    GempickError
        session.json or run.json is missing or damaged, or a name in it leads out of the folder.
    """
    if is_session(folder):
        return read_session(folder)
    path, run = folder / RUN_FILE, read_run(folder)
    try:
        state, results = state_of_run(run), results_of(run)
        for row in run["micrographs"]:
            check_row(row, path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"{path} cannot be read: {what}; pick again, with --overwrite.", path) from error
    for name in [*(file.output_stem for file in state.files), *results, *(view.name for view in state.views)]:
        if not is_below(name):
            raise InputError(f"{path} names {name!r}, which leads out of the folder; correct it.", path)
    return state, results, None


def is_session(folder: Path) -> bool:
    """Return whether a folder holds a session."""
    return (folder / SESSION_FILE).exists()


def is_results(folder: Path) -> bool:
    """Return whether a folder holds the results of a run."""
    return (folder / RUN_FILE).exists()


def free_folder(beside: Path) -> Path:
    """Return the first of gempick, gempick_2, ... in a folder that holds no earlier work."""
    number = 1
    while True:
        candidate = beside / (FOLDER_NAME if number == 1 else f"{FOLDER_NAME}_{number}")
        used = any((candidate / name).exists() for name in (SESSION_FILE, RUN_FILE, INDEX_FILE))
        if not used and not (candidate.exists() and not candidate.is_dir()):
            return candidate
        number += 1
