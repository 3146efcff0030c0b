"""The part of the tutorial about clusters: on the Slurm that SLURM_CONF names, else on this computer without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from window import Window


def slurm_answers() -> bool:
    """Return whether there is a Slurm."""
    if shutil.which("sinfo") is None:
        return False
    done = subprocess.run(["sinfo", "-h"], capture_output=True, timeout=30, check=False)
    return done.returncode == 0 and bool(done.stdout)


def through_a_cluster(window: Window, pictures: Path) -> None:
    """Fill in the dialog, submit, watch the job, and open its results."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    dock, part = window.dock, window.dock.export.cluster
    for widget in (part.heading, part.new):
        dock.scroll.ensureWidgetVisible(widget)
        window.spin(0.3)
        window.click(widget)
    dialog = part.dialog
    window.until(lambda: "rotated templates" in dialog.estimate.text())
    window.type(dialog.fields["nodes"].native, "2")
    window.type(dialog.fields["tasks_per_node"].native, "2")
    window.type(dialog.fields["walltime"].native, "00:30:00")
    window.type(dialog.fields["partition"].native, "debug")
    # the addresses of MPICH's UCX transport may be too long for srun's pmi2
    window.click(dialog.lines["environment"])
    window.input("type", "--delay", "20", "export MPIR_CVAR_CH4_NETMOD=ofi FI_PROVIDER=tcp")
    window.click(dialog.maps)
    window.picture(pictures / "13_cluster.png", dialog)
    if not slurm_answers():
        print("no Slurm answers: the job runs on this computer, without a scheduler")
        dialog.site.setCurrentIndex(dialog.site.findData("mpirun"))
        dialog.site.activated.emit(dialog.site.currentIndex())
        window.type(dialog.fields["nodes"].native, "1")
    window.click(dialog.submit)
    window.until(lambda: part.folder is not None)
    dock.scroll.ensureWidgetVisible(part.forget)
    window.until(lambda: part.status is not None and (part.status.done > 0 or "its log ends" in part.words.text()))
    assert part.status.done > 0, part.words.text()
    dock.scroll.ensureWidgetVisible(part.forget)
    window.picture(pictures / "14_watch.png")
    window.until(lambda: part.status.state == "complete")
    window.click(part.open_)
    controller = window.controller
    window.until(lambda: controller.folder.path == part.folder / "results" and controller.choice is not None)
    window.until(lambda: bool(controller.loaded.maps))
    dock.scroll.ensureWidgetVisible(dock.tune.sliders["side"].slider)
    window.spin(0.3)
    window.drag(dock.tune.sliders["side"].slider, 0.33)
    window.picture(pictures / "15_job_results.png")
    print(
        f"{len(controller.state.files)} micrographs of the job are open, {len(controller.choice)} picks on the first."
    )
