"""Settings in JSON files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from napari_gempick.io.json_files import read_object
from napari_gempick.model.errors import InputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    """Return the cluster settings of a JSON file, its object `cluster`; none where there is no such object.

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
