"""napari-gempick: template-matching particle picking for cryo-electron micrographs.

`import napari_gempick as gp` loads nothing else; the names below are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_gempick.cluster.collect import collect_job
    from napari_gempick.cluster.estimate import estimate_job
    from napari_gempick.cluster.export import export_job
    from napari_gempick.cluster.status import job_status
    from napari_gempick.cluster.submit import cancel_job, submit_job
    from napari_gempick.io.coordinates import read_coordinates
    from napari_gempick.io.images.micrograph import read_micrograph
    from napari_gempick.io.listing import find_micrographs
    from napari_gempick.io.stack import read_map, read_stack
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.errors import GempickError
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.score_maps import ScoreMap
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.verification.prove import verify
    from napari_gempick.workflows.arrays import Picked, pick, repick, write_picks
    from napari_gempick.workflows.average import Averages, average, average_files
    from napari_gempick.workflows.pick import pick_files
    from napari_gempick.workflows.retune import retune
    from napari_gempick.workflows.templates import Projections, project_files, project_map

__version__ = "0.1.0"

_PUBLIC = {
    "Averages": "workflows.average",
    "average": "workflows.average",
    "average_files": "workflows.average",
    "Ctf": "model.ctf",
    "GempickError": "model.errors",
    "PickSettings": "model.settings",
    "Picked": "workflows.arrays",
    "Picks": "model.picks",
    "Projections": "workflows.templates",
    "ScoreMap": "model.score_maps",
    "cancel_job": "cluster.submit",
    "collect_job": "cluster.collect",
    "estimate_job": "cluster.estimate",
    "export_job": "cluster.export",
    "find_micrographs": "io.listing",
    "job_status": "cluster.status",
    "submit_job": "cluster.submit",
    "pick": "workflows.arrays",
    "pick_files": "workflows.pick",
    "project_files": "workflows.templates",
    "project_map": "workflows.templates",
    "read_coordinates": "io.coordinates",
    "read_map": "io.stack",
    "read_micrograph": "io.images.micrograph",
    "read_stack": "io.stack",
    "repick": "workflows.arrays",
    "retune": "workflows.retune",
    "verify": "verification.prove",
    "write_picks": "workflows.arrays",
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
    "find_micrographs",
    "job_status",
    "pick",
    "pick_files",
    "project_files",
    "project_map",
    "read_coordinates",
    "read_map",
    "read_micrograph",
    "read_stack",
    "repick",
    "retune",
    "submit_job",
    "verify",
    "write_picks",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(f"napari_gempick.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
