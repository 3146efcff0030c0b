"""Run one job with 1, 2, 4, ... ranks in both distributions and compare with one rank.

    python benchmarks/cluster_scaling.py [--size 1024] [--micrographs 8] [--step 4] [--ranks 1,2,4] [--repeats 3]

Micrographs of noise, one template of 96 pixels, one thread a rank. The time is from the start of the first rank's work
to the end of the last one's, from the ranks' logs: without the start of Python and MPI. The best of the repeats counts.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.records import read_logs
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.settings import make_settings


def seconds(job: Path, ranks: int, distribution: str) -> float:
    """Run a copy of a job; return the seconds of work."""
    folder = Path(shutil.copytree(job, tempfile.mkdtemp(dir=job.parent), dirs_exist_ok=True))
    open_job(folder).rewritten(distribution=distribution)
    beside = Path(sys.executable).parent / "mpiexec"
    words = [str(beside) if beside.exists() else "mpiexec", "-n", str(ranks), sys.executable, "-m", "mpi4py"]
    words += ["-m", "napari_gempick.cluster.mpi", str(folder)]
    subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    events = read_logs(folder / "progress")
    begun = min(row["time"] for row in events if row["event"] == "start")
    return float(max(row["time"] for row in events if row["event"] == "end") - begun)


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--micrographs", type=int, default=8)
    parser.add_argument("--step", type=float, default=4.0)
    parser.add_argument("--ranks", default="1,2,4")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        for number in range(options.micrographs):
            image = rng.standard_normal((options.size, options.size)).astype(np.float32)
            write_mrc(top / "mics" / f"{number}.mrc", image, 2.0)
        write_mrc(top / "template.mrc", rng.standard_normal((96, 96)).astype(np.float32), 2.0)
        settings = make_settings(
            {"templates": [str(top / "template.mrc")], "mask": ["circle:180"], "angle_step": options.step}
        )
        made = export_job(settings, find_micrographs([top / "mics"]), top / "job", make_cluster({"site": "mpirun"}))
        print(f"{options.micrographs} x {options.size}², {made.estimate.search_images} rotated templates")
        print("| ranks | by micrographs s | speed-up | by templates s | speed-up |\n|---|---|---|---|---|")
        first: dict[str, float] = {}
        for ranks in (int(text) for text in options.ranks.split(",")):
            cells = [str(ranks)]
            for distribution in ("micrographs", "templates"):
                took = min(seconds(top / "job", ranks, distribution) for _ in range(options.repeats))
                first.setdefault(distribution, took)
                cells += [f"{took:.2f}", f"{first[distribution] / took:.2f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
