"""The session file: what a person did, saved beside the results while they work, and read when they come back.

Every field is checked, with its type, before anything is made of it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from napari_gempick.device.locks import Busy, give_back, take
from napari_gempick.io.atomic import write_text
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.names import free_path, is_below
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import GempickError, InputError, OutputError
from napari_gempick.model.score_maps import BankIndex
from napari_gempick.model.settings import TUNED, PickSettings, make_settings
from napari_gempick.results.folder import INDEX_FILE
from napari_gempick.results.labels import SESSION_FILE
from napari_gempick.results.run_file import RUN_FILE, read_run
from napari_gempick.widgets.state.reopening import state_of_run
from napari_gempick.widgets.state.result import Result, results_of
from napari_gempick.widgets.state.state import BESIDE_THRESHOLDS, State, from_plain, to_plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
    return free_path(beside, FOLDER_NAME, taken=_is_taken)


def _is_taken(path: Path) -> bool:
    """Return whether a path is not a folder for new work."""
    used = any((path / name).exists() for name in (SESSION_FILE, RUN_FILE, INDEX_FILE))
    return used or (path.exists() and not path.is_dir())


def earlier_session(found: Sequence[MicrographFile], own: Path | None) -> Path | None:
    """Return the newest folder of a session beside micrographs that worked on one of them; None where there is none.

    Parameters
    ----------
    found : sequence of MicrographFile
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


VERSION = 1


def _below(name: str) -> str:
    if not is_below(name):
        raise ValueError(f"{name!r} leads out of the folder")
    return name


_Name = Annotated[str, AfterValidator(_below)]
_Score = Annotated[FiniteFloat, Field(ge=-1, le=1)]
_Length = Annotated[FiniteFloat, Field(ge=0)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _File(_Plain):
    path: str
    relative: _Name
    whole_name: bool
    pixel_size: Annotated[FiniteFloat, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _results_stay_below(self) -> _File:
        _below(self.stem)
        return self

    @property
    def stem(self) -> str:
        return MicrographFile(Path(self.path), PurePosixPath(self.relative), self.whole_name).output_stem


class _View(_Plain):
    name: _Name
    files: tuple[str, ...]
    mask: str
    colour: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


def _typed(name: str) -> Any:
    """Return the type of a setting with its limits, as JSON has it."""
    field = PickSettings.model_fields[name]
    return list[str] if field.annotation == tuple[str, ...] else Annotated[field.annotation, field]


class _Thresholds(_Plain):
    model_config = ConfigDict(allow_inf_nan=False)

    thresholds: dict[str, _Score]

    @model_validator(mode="after")
    def _limits_can_be_read(self) -> _Thresholds:
        _settings({name: getattr(self, name) for name in TUNED})
        return self


_others: Any = {name: (_typed(name), None) for name in BESIDE_THRESHOLDS}
_Tune: Any = create_model("_Tune", __base__=_Thresholds, **_others)


class _Added(_Plain):
    x: FiniteFloat
    y: FiniteFloat
    view: str
    score: float
    psi: float
    section: Annotated[int, Field(ge=-1, lt=2**31)]


class _Edits(_Plain):
    rejected: tuple[tuple[FiniteFloat, FiniteFloat], ...]
    added: tuple[_Added, ...]


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Check the type of each setting; what contradicts another one is reported when it is used."""
    for name, value in values.items():
        if name not in PickSettings.model_fields:
            raise ValueError(f"{name!r} is not a setting")
        try:
            _setting(name).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{name}: {_lower(error.errors()[0]['msg'])}") from None
    return values


@cache
def _setting(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_typed(name), config=ConfigDict(strict=True, allow_inf_nan=False))


class _State(_Plain):
    files: tuple[_File, ...]
    views: tuple[_View, ...]
    values: Annotated[dict[str, Any], AfterValidator(_known)]
    tune: _Tune
    overrides: dict[str, _Tune]
    edits: dict[str, _Edits]
    rejected: tuple[str, ...] = ()
    teach: bool = False

    @model_validator(mode="after")
    def _names_differ(self) -> _State:
        for what, names in (("views", [v.name for v in self.views]), ("micrographs", [f.stem for f in self.files])):
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} have the same name")
        return self


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    error: str | None = None
    best_score: FiniteFloat | None = None


def _row(row: dict[str, Any]) -> dict[str, Any]:
    _Row.model_validate(row)
    return row


class _Bank(_Plain):
    view_names: tuple[str, ...]
    sections_per_view: tuple[_Count, ...]
    angle_step: float
    angle_range: float
    folds: tuple[Annotated[int, Field(ge=1, le=360)], ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> _Bank:
        _settings({"angle_step": self.angle_step, "angle_range": self.angle_range})
        if len(self.view_names) != len(self.sections_per_view) or len(self.folds) not in (0, len(self.view_names)):
            raise ValueError("every view needs its number of sections")
        return self


class _Result(_Plain):
    row: Annotated[dict[str, Any], AfterValidator(_row)]
    bank: _Bank | None
    diameter: _Length
    digest: str
    maps: bool


class _Session(_Plain):
    session: Literal[1]
    current: str | None
    state: _State
    results: dict[_Name, _Result]


def _settings(values: dict[str, Any]) -> None:
    try:
        make_settings(values)
    except GempickError as error:
        raise ValueError(error.sentence.removeprefix("Wrong settings: --").rstrip(".")) from None


def check_session(text: bytes, path: Path) -> dict[str, Any]:
    """Return the content of a session file, with every field of the right type.

    Raises
    ------
    InputError
        A field is missing, of another type or unknown, or a name leads out of the folder; the sentence names it.
    """
    try:
        return _Session.model_validate_json(text).model_dump()
    except ValidationError as error:
        raise InputError(f"{path} cannot be read: {_first(error)}; correct or remove it.", path) from error


def check_row(row: dict[str, Any], path: Path) -> None:
    """Check what the window reads of a line of run.json; raises InputError as `check_session`."""
    try:
        _Row.model_validate(row)
    except ValidationError as error:
        raise InputError(
            f"{path} cannot be read: micrograph {row.get('name')}, {_first(error)}; correct or remove it.", path
        ) from error


def _first(error: ValidationError) -> str:
    """Return the first problem with the field that has it."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    what = _lower(problem["msg"].removeprefix("Value error, "))
    return f"{where}: {what}" if where else what


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
