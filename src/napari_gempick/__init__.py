"""napari-gempick: template-matching particle picking for cryo-electron micrographs.

`import napari_gempick as gp` loads nothing else; the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_gempick.io.micrograph import read_micrograph
    from napari_gempick.io.read_coordinates import read_coordinates
    from napari_gempick.io.stack import read_stack
    from napari_gempick.job.arrays import Picked, pick, repick
    from napari_gempick.job.average import Averages, average, average_files
    from napari_gempick.job.cluster import cancel_job, collect_job, estimate_job, export_job, job_status, submit_job
    from napari_gempick.job.pick import pick_files
    from napari_gempick.job.project import Projections, project_files, project_map
    from napari_gempick.job.prove import verify
    from napari_gempick.job.retune import retune
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.errors import GempickError
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.scores import ScoreMap
    from napari_gempick.model.settings import PickSettings

__version__ = "0.1.0"

_PUBLIC = {
    "Averages": "job.average",
    "average": "job.average",
    "average_files": "job.average",
    "Ctf": "model.ctf",
    "GempickError": "model.errors",
    "PickSettings": "model.settings",
    "Picked": "job.arrays",
    "Picks": "model.picks",
    "Projections": "job.project",
    "ScoreMap": "model.scores",
    "cancel_job": "job.cluster",
    "collect_job": "job.cluster",
    "estimate_job": "job.cluster",
    "export_job": "job.cluster",
    "job_status": "job.cluster",
    "submit_job": "job.cluster",
    "pick": "job.arrays",
    "pick_files": "job.pick",
    "project_files": "job.project",
    "project_map": "job.project",
    "read_coordinates": "io.read_coordinates",
    "read_micrograph": "io.micrograph",
    "read_stack": "io.stack",
    "repick": "job.arrays",
    "retune": "job.retune",
    "verify": "job.prove",
}
__all__ = [
    "Averages",
    "Ctf",
    "GempickError",
    "PickSettings",
    "Picked",
    "Picks",
    "Projections",
    "ScoreMap",
    "__version__",
    "average",
    "average_files",
    "cancel_job",
    "collect_job",
    "estimate_job",
    "export_job",
    "job_status",
    "pick",
    "pick_files",
    "project_files",
    "project_map",
    "read_coordinates",
    "read_micrograph",
    "read_stack",
    "repick",
    "retune",
    "submit_job",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"napari_gempick.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
