"""What the window remembers between uses: the last cluster settings, and the jobs that were watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick.cluster.script import config_folder
from napari_gempick.cluster.settings import ClusterSettings, make_cluster
from napari_gempick.io.atomic import write_text
from napari_gempick.model.errors import GempickError

if TYPE_CHECKING:
    from collections.abc import Mapping

_JOBS = 10


def _file() -> Path:
    return config_folder().parent / "window.json"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(**changes: Any) -> None:
    """Change the file; where it cannot be written, nothing is remembered."""
    try:
        write_text(_file(), json.dumps({**_read(), **changes}, indent=1, ensure_ascii=False) + "\n")
    except GempickError:
        return


def last_cluster() -> dict[str, Any]:
    """Return the cluster settings that were used last, as far as they can still be used."""
    found = _read().get("cluster")
    values = {k: v for k, v in found.items() if k in ClusterSettings.model_fields} if isinstance(found, dict) else {}
    try:
        make_cluster(values)
    except GempickError:
        return {}
    return values


def last_choices() -> dict[str, Any]:
    """Return the other fields of the dialog: parent (folder of jobs), root, cluster_root, maps."""
    found = _read().get("choices")
    kinds = {"parent": str, "root": str, "cluster_root": str, "maps": bool}
    return {k: v for k, v in found.items() if isinstance(v, kinds.get(k, ()))} if isinstance(found, dict) else {}


def remember_cluster(values: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Keep what the dialog was filled in with."""
    _write(cluster=dict(values), choices=dict(choices))


def jobs() -> list[Path]:
    """Return the job folders that were watched and still exist, the last one first."""
    found = _read().get("jobs")
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
    return [Path(text) for text in texts if Path(text, "job.json").is_file()]


def remember_job(folder: Path) -> None:
    """Put a job folder first."""
    _write(jobs=[str(folder), *(str(path) for path in jobs() if path != folder)][:_JOBS])
