"""Jobs for a cluster: export, submit, status, collect, cancel, and the MPI program itself."""

from __future__ import annotations

from napari_gempick.job.cluster.collect import collect
from napari_gempick.job.cluster.estimate import Estimate, estimate
from napari_gempick.job.cluster.export import Exported, export
from napari_gempick.job.cluster.status import Status, status
from napari_gempick.job.cluster.submit import Submission, cancel, submit

__all__ = [
    "Estimate",
    "Exported",
    "Status",
    "Submission",
    "cancel",
    "collect",
    "estimate",
    "export",
    "status",
    "submit",
]
