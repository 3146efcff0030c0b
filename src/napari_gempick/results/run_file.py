"""run.json and settings files: how they are read, and what must be right in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from napari_gempick.io.names import Below, FilePath, Writable
from napari_gempick.io.reading import checked, read_object
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.settings import make_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_gempick.model.settings import PickSettings


RUN_FILE = "run.json"
_Side = Annotated[int, Field(ge=1, le=1_000_000)]
_Pixel = Annotated[float, Field(gt=0, lt=1e6)]


class _RowRecord(BaseModel):
    """What must be right in a line of run.json."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    name: Below
    path: FilePath
    error: str | None = None
    shape: tuple[_Side, _Side] | None = None
    pixel_size: _Pixel | None = None
    map_pixel_size: _Pixel | None = None
    picks: NonNegativeInt = 0
    best_score: float | None = None
    picks_per_view: dict[str, NonNegativeInt] = {}
    thresholds: dict[str, float | None] = {}
    estimated_fdr: dict[str, float | None] = {}
    seconds: float = 0.0
    remarks: list[str] = []
    proof: dict[str, str] = {}
    wrong: list[str] = []


class _ViewRecord(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    name: Writable
    sections: PositiveInt
    mask: str = ""


class _RunRecord(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    settings: dict[str, Any]
    diameter: PositiveFloat
    views: list[_ViewRecord]
    micrographs: list[_RowRecord]
    program: str = ""
    python: str = ""
    state: str = ""
    devices: list[dict[str, Any]] = []
    search_images: dict[str, list[Any]] = {}


def check_row(row: Any, path: Path) -> None:
    """Raise InputError where a line of run.json cannot be right; `path` is the file that it is from."""
    checked(_RowRecord, row, path, "pick that micrograph again")


class NoResults(SettingsError):
    """A folder has no run.json, or one of another program."""


def read_run(folder: Path) -> dict[str, Any]:
    """Read run.json.

    Raises
    ------
    NoResults
        It is missing, or another program's.
    SettingsError
        It is damaged; the field is named.
    """
    path = folder / RUN_FILE
    if not path.exists():
        raise NoResults(f"{path} is missing; {folder} is not a folder of results.", path)
    try:
        run = read_object(path)
        if not isinstance(run.get("settings"), dict):
            raise NoResults(f"{path} is not a gempick run.json; run again with --overwrite.", path)
        checked(_RunRecord, run, path, "run again with --overwrite")
    except InputError as error:
        raise SettingsError(error.sentence, path) from error
    return run


def settings_of(folder: Path, run: dict[str, Any]) -> PickSettings:
    """Return the settings of the run.json of a folder.

    Raises
    ------
    SettingsError
        They cannot be right; the file is named.
    """
    try:
        return make_settings(run["settings"])
    except SettingsError as error:
        raise SettingsError(f"{folder / RUN_FILE}: {error.sentence}", folder) from error


def earlier_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the run.json in a folder; none without one.

    Raises
    ------
    SettingsError
        It is damaged.
    """
    if not (folder / RUN_FILE).exists():
        return []
    rows: list[dict[str, Any]] = read_run(folder).get("micrographs", [])
    return rows


_Made = TypeVar("_Made")


def read_settings(path: Path) -> dict[str, Any]:
    """Return the settings of a JSON file: a plain object, or the `settings` of a run.json or job.json.

    Raises
    ------
    SettingsError
        The file is missing, or is not JSON of that kind.
    """
    content = _read(path)
    settings = content.get("settings")
    return settings if isinstance(settings, dict) else content


def read_cluster(path: Path) -> dict[str, Any]:
    """Return the cluster settings of a JSON file, its object `cluster`; empty without that object.

    Raises
    ------
    SettingsError
        As read_settings.
    """
    found = _read(path).get("cluster")
    return dict(found) if isinstance(found, dict) else {}


def merged(
    make: Callable[[dict[str, Any]], _Made],
    read: Callable[[Path], dict[str, Any]],
    config: Path | None,
    given: dict[str, Any],
) -> _Made:
    """Return what `make` makes of a file's settings and those given on the command line, which win.

    Parameters
    ----------
    make : callable
        make_settings or make_cluster.
    read : callable
        read_settings or read_cluster.
    config : Path, optional
        The file.
    given : dict
        The options.

    Raises
    ------
    SettingsError
        A setting is wrong; the file is named where it is the file's.
    """
    if config is None:
        return make(given)
    content = read(config)
    try:
        return make({**content, **given})
    except SettingsError as error:
        make(given)  # raises where the options are wrong without the file
        raise SettingsError(f"{config}: {error.sentence}", config) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except InputError as error:
        raise SettingsError(f"{error.sentence.rstrip('.')} (--config).", path) from error
