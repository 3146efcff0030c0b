"""Settings in JSON files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_gempick.io.json_files import read_object
from napari_gempick.model.errors import InputError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


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


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except InputError as error:
        raise SettingsError(f"{error.sentence.rstrip('.')} (--config).", path) from error
