"""Small jobs for the tests: five micrographs and 37 templates, mpiexec, and lanes of cryoSPARC's."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import Blobs
from napari_gempick.cluster.folder import open_job
from napari_gempick.io.stack import write_mrc

SHAPE = (150, 166)
PLANTED = {(48.3, 52.7): 0.0, (110.2, 60.1): 60.0, (60.0, 104.4): 120.0}
RUN_FILES = ("run.json", "gempick.log", "autopick.star", "report.md")
"""Files that name folders, devices or times."""

LANE = {
    "name": "lane",
    "worker_bin_path": "/opt/cs/bin/cryosparcw",
    "send_cmd_tpl": "{{ command }}",
    "qsub_cmd_tpl": "sbatch {{ script_path_abs }}",
    "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }}",
    "qdel_cmd_tpl": "scancel {{ cluster_job_id }}",
    "qinfo_cmd_tpl": "sinfo",
}
"""cluster_info.json as an installation of cryoSPARC writes it."""


def write_data(folder, size=SHAPE, count=5):
    """Micrographs, and 37 templates in two stacks: 30 and 7."""
    for number in range(count):
        noise = np.random.default_rng(number).standard_normal(size).astype(np.float32)
        image = -Blobs.image(size, 4.0, list(PLANTED), list(PLANTED.values())) + 0.3 * noise
        write_mrc(folder / "mics" / f"grid{number % 2}" / f"mic{number}.mrc", image, 4.0)
    for name, psis in (("side", np.arange(30) * 12.0), ("top", np.arange(7) * 50.0 + 5)):
        stack = np.stack([-Blobs.image((44, 44), 4.0, [(22, 22)], [psi]) for psi in psis])
        write_mrc(folder / f"{name}.mrcs", stack, 4.0, stack=True)


def values_for(folder, **more):
    """Settings of a run on that data: the mask of `side` is shared by many, that of `top` by few."""
    return {
        "templates": (f"side={folder / 'side.mrcs'}", f"top={folder / 'top.mrcs'}"),
        "mask": ("side=circle:130", "top=rectangle:120x110"),
        "angle_step": 0.0,
        "threshold": ("0.5",),
        "save_maps": True,
        "per_view_maps": True,
        **more,
    }


def tree(folder, without=RUN_FILES):
    """Every file below a folder with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name not in without
    }


def mpiexec():
    """The mpiexec of the MPI library that is installed beside this Python."""
    pytest.importorskip("mpi4py") if not os.environ.get("CI") else __import__("mpi4py")
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        message = "no mpiexec: pip install mpich"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found


def command(ranks, folder, *arguments, python=lambda *words: [sys.executable, *words]):
    """The words that run a job; `python=forked_python.words` for one that ends well and is not interrupted."""
    program = python("-m", "mpi4py", "-m", "napari_gempick.cluster.mpi", str(folder), "--ranks", str(ranks))
    return [mpiexec(), "-n", str(ranks), *program, *arguments]


def set_distribution(folder, distribution):
    open_job(folder).rewritten(distribution=distribution)


def write_lane(folder, script, **info):
    """Write the two files of a lane into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cluster_info.json").write_text(json.dumps({**LANE, **info}))
    (folder / "cluster_script.sh").write_text(script)
    return folder
