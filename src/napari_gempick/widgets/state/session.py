"""The session file: what a person did, saved beside the results while they work, and read when they come back."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_gempick.device.locks import Busy, give_back, take
from napari_gempick.io.atomic import write_text
from napari_gempick.io.names import free_path, is_below
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import GempickError, InputError, OutputError
from napari_gempick.model.score_maps import BankIndex
from napari_gempick.results.folder import INDEX_FILE
from napari_gempick.results.learned_score import SESSION_FILE
from napari_gempick.results.run_file import RUN_FILE, read_run
from napari_gempick.widgets.state.reopening import state_of_run
from napari_gempick.widgets.state.result import Result, results_of
from napari_gempick.widgets.state.session_format import VERSION, check_row, check_session
from napari_gempick.widgets.state.state import State, from_plain, to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.threads import Background


FOLDER_NAME = "gempick"
_LOCK = ".session.lock"


class SessionFolder:
    """A results folder that only this window writes to.

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
        self._listed: tuple[tuple[MicrographFile, ...], str] = (), "[]"
        self._texts: dict[str, tuple[Result, str]] = {}
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
        """Write the session file atomically."""
        if state.files is not self._listed[0]:
            self._listed = state.files, _json(to_plain(State(files=state.files))["files"])
        decided = {name: _json(value) for name, value in to_plain(replace(state, files=())).items()}
        self._texts = {stem: self._text_of(stem, result) for stem, result in results.items()}
        content = {
            "session": _json(VERSION),
            "current": _json(current),
            "state": _object({**decided, "files": self._listed[1]}),
            "results": _object({stem: text for stem, (_, text) in self._texts.items()}),
        }
        write_text(self.path / SESSION_FILE, _object(content) + "\n")

    def _text_of(self, stem: str, result: Result) -> tuple[Result, str]:
        """Return a result and its JSON, which is made once: there may be thousands, and the file is written often."""
        known = self._texts.get(stem)
        return known if known is not None and known[0] is result else (result, _json(dataclasses.asdict(result)))

    def close(self) -> None:
        """Let other windows open the folder."""
        give_back(self._lock)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object(parts: Mapping[str, str]) -> str:
    """Return a JSON object, a member on each line; its values are JSON already."""
    return "{\n" + ",\n".join(f"{_json(name)}: {text}" for name, text in parts.items()) + "\n}"


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
    return free_path(beside, FOLDER_NAME, taken=_is_taken)


def _is_taken(path: Path) -> bool:
    """Return whether a path is not a folder for new work."""
    used = any((path / name).exists() for name in (SESSION_FILE, RUN_FILE, INDEX_FILE))
    return used or (path.exists() and not path.is_dir())


def earlier_session(found: Sequence[MicrographFile], own: Path | None) -> Path | None:
    """Return the newest folder of a session beside micrographs that worked on one of them; None where there is none.

    Parameters
    ----------
    own : Path or None
        The folder in use, which is not an earlier one.
    """
    beside = found[0].path.parent
    paths = {file.path for file in found}
    folders = [path for path in beside.glob(f"{FOLDER_NAME}*") if path != own and is_session(path)]
    for folder in sorted(folders, key=lambda path: (path / SESSION_FILE).stat().st_mtime, reverse=True):
        try:
            state, _, _ = read_session(folder)
        except GempickError:
            continue  # reported when that folder is opened
        if paths & {file.path for file in state.files}:
            return folder
    return None


@dataclass(frozen=True)
class Snapshot:
    """A session as it was at one moment; nothing in it changes any more.

    Attributes
    ----------
    folder : SessionFolder
        Where it belongs, whatever is opened afterwards.
    results : mapping of str to Result
        A copy.
    current : str or None
        The micrograph that was shown.
    """

    folder: SessionFolder
    state: State
    results: Mapping[str, Result]
    current: str | None


SAVE_WAIT = 0.3
"""Seconds that a snapshot waits for newer ones, which a moving slider makes."""


class Saver:
    """Writes snapshots, the newest only: an older one is never written after it.

    Parameters
    ----------
    background : Background
        With one thread, of its own: a slow disk keeps nothing else waiting. It is closed with the saver.
    also : callable
        Writes what belongs to the session beside its file.
    """

    def __init__(self, background: Background, also: Callable[[], None]) -> None:
        self._background, self._also = background, also
        self._writing, self._ending = threading.Lock(), threading.Event()
        self._queued = False
        self._newest: tuple[int, Snapshot] | None = None
        self._written = 0

    def put(self, snapshot: Snapshot) -> None:
        """Write a snapshot soon; on the window's thread."""
        self._take(snapshot)
        if not self._queued:
            self._queued = True
            self._background.do(self._write_soon)

    def _write_soon(self) -> None:
        self._ending.wait(SAVE_WAIT)
        self._queued = False
        self._write()

    def put_now(self, snapshot: Snapshot) -> None:
        """Write a snapshot, after the file that is being written."""
        self._take(snapshot)
        self._write()

    def _take(self, snapshot: Snapshot) -> None:
        self._newest = (self._newest[0] if self._newest else 0) + 1, snapshot

    def _write(self) -> None:
        with self._writing:
            newest = self._newest
            if newest is None or newest[0] == self._written:
                return
            self._written, snapshot = newest
            snapshot.folder.save(snapshot.state, snapshot.results, snapshot.current)
            self._also()

    def close(self) -> None:
        """Wait for the file that is being written, and end the thread."""
        self._ending.set()
        self._background.close()
