"""Settings in JSON files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_gempick.model.errors import SettingsError

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
    if isinstance(content, dict) and isinstance(content.get("settings"), dict):
        content = content["settings"]
    if not isinstance(content, dict):
        raise SettingsError(f"{path} holds no settings; give a JSON object or a run.json.", path)
    return dict(content)


def read_cluster(path: Path) -> dict[str, Any]:
    """Return the cluster settings of a JSON file, its object `cluster`; none where there is no such object.

    Raises
    ------
    SettingsError
        As read_settings.
    """
    content = _read(path)
    found = content.get("cluster") if isinstance(content, dict) else None
    return dict(found) if isinstance(found, dict) else {}


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); check --config.", path) from error
    except ValueError as error:
        raise SettingsError(f"{path} is not valid JSON ({error}); check --config.", path) from error
