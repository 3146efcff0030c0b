"""Jobs for a cluster: export, submit, status, collect, cancel, and the MPI program itself.

The names are loaded when they are first used: the nodes need few of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_gempick.cluster.collect import collect_job
    from napari_gempick.cluster.estimate import Estimate, estimate_job
    from napari_gempick.cluster.export import Exported, export_job
    from napari_gempick.cluster.folder import Job, open_job
    from napari_gempick.cluster.script import site_names
    from napari_gempick.cluster.status import Status, job_status
    from napari_gempick.cluster.submit import Submission, cancel_job, submit_job

_PUBLIC = {
    "Estimate": "estimate",
    "Exported": "export",
    "Job": "folder",
    "Status": "status",
    "Submission": "submit",
    "cancel_job": "submit",
    "collect_job": "collect",
    "estimate_job": "estimate",
    "export_job": "export",
    "job_status": "status",
    "open_job": "folder",
    "site_names": "script",
    "submit_job": "submit",
}
__all__ = [
    "Estimate",
    "Exported",
    "Job",
    "Status",
    "Submission",
    "cancel_job",
    "collect_job",
    "estimate_job",
    "export_job",
    "job_status",
    "open_job",
    "site_names",
    "submit_job",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
