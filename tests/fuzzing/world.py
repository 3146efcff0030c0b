"""A small data set with everything that is read: images, lists, CTF, picks, results of a run, a job, a session."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from helpers import Blobs
from mrc_files import mrc_bytes
from napari_gempick.cluster.export import export_job
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.records import RankLog
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.extraction.particle_stack import ParticleStack
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import find_micrographs
from napari_gempick.model.picks import Picks
from napari_gempick.model.settings import make_settings
from napari_gempick.results.run_file import read_run
from napari_gempick.workflows.pick import pick_files

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.io.listing import MicrographFile

SHAPE = (120, 132)
SIZE = 4.0  # Å
PLANTED = {(40.3, 42.7): 0.0, (90.2, 50.1): 60.0, (60.0, 84.4): 120.0}
TIFFS = {"none": None, "deflate": "zlib", "lzw": "lzw", "packbits": "packbits"}
PICK = ("--templates", "side=side.mrc", "--mask", "circle:130", "--angle-step", "60", "--threshold", "0.4")
INFO = PicksInfo(SIZE, 24, ("side", "long top"), "mics/mic0.mrc", SHAPE)
PICKS = Picks(
    x=np.array([32.0, 10.25, 80.5]),
    y=np.array([32.0, 20.5, 100.0]),
    map_x=np.array([32, 10, 80], np.int32),
    map_y=np.array([32, 20, 100], np.int32),
    score=np.array([0.5, 0.25, np.nan], np.float32),
    k=np.full(3, -1, np.int32),
    view=np.array([1, 0, 0], np.int32),
    section=np.array([2, 0, 1], np.int32),
    psi=np.array([330.0, 90.0, 0.0]),
)
CTF = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
opticsGroup1 1 4.0 300.0 2.7 0.1

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnPhaseShift #6
mics/mic0.mrc 1 15000.0 14000.0 30.0 0.0
mics/mic1.mrc 1 25000.0 24000.0 130.0 90.0
"""
CTFFIND = """# Output from CTFFind version 4.1.14, run on 2024-01-01 10:00:00
# Input file: mics/mic0.mrc ; Number of micrographs: 1
# Pixel size: 4.000 Angstroms ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; \
amplitude contrast: 0.07
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 5.0 Angstroms
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism; #5 - phase
1.000000 15000.000000 14000.000000 30.000000 0.000000 0.150000 5.000000
"""
GEMPICKER = """iPik corrVal X Y boxSize iSch angle2D refName maskName
1 0.500000 32 80 24 3 30 top.mrc circle.mrc
2 0.250000 20.5 88.75 24 1 270 side.mrc circle.mrc
"""
TEXTS = {
    "ctf.star": CTF,
    "mic0_diag.txt": CTFFIND,
    "particles_31.star": CTF.split("data_micrographs")[0].replace("rlnMicrographPixelSize", "rlnImagePixelSize")
    + "data_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnMicrographName #3\n_rlnOpticsGroup #4\n"
    "_rlnOriginXAngst #5\n_rlnOriginYAngst #6\n_rlnAnglePsi #7\n_rlnClassNumber #8\n"
    "32.0 32.0 mics/mic0.mrc 1 4.0 -2.0 -30.0 2\n80.5 90.0 mics/mic1.mrc 1 0.0 0.5 120.0 1\n",
    "gempicker.txt": GEMPICKER,
    "filaments.box": "10\t20\t24\t24\t-1\n70\t80\t24\t24\t-2\n20\t10\t24\t24\t-1\n90\t30\t24\t24\t-2\n",
    "segments.box": "#micrograph: mic0.mrc\n#segment length: 24\n#segment width: 24\n"
    "#helix: (10.0, 20.0),(70.0, 80.0),24\n10.0\t20.0\n40.0\t50.0\n70.0\t80.0\n",
    "napari.csv": "index,axis-0,axis-1\n0.0,32.0,32.0\n1.0,80.25,10.5\n",
    "clicked.csv": "x,y,view,inplane_deg,source\n32.0,32.0,side,30,both\n80.0,90.5,top,,one\n",
    "mic0_truth.csv": "x,y,view\n40.3,42.7,side\n90.2,50.1,side\n60.0,84.4,side\n",
    "names.csv": "name,micrograph\nmic0,mics/mic0.mrc\nother,mics/mic1.mrc\n",
    "project.csg": "created: 2024-01-01\ngroup: {description: x}\nresults:\n  location:\n    metafile: '>m.cs'\n"
    "    num_items: 3\n",
    "templates.star": "\ndata_\n\nloop_\n_rlnReferenceImage #1\n_rlnClassDistribution #2\n1@stack.mrcs 0.6\n"
    "2@stack.mrcs 0.4\n",
    "model.star": "\ndata_model_general\n\n_rlnPixelSize 4.0\n_rlnNrClasses 2\n\ndata_model_classes\n\nloop_\n"
    "_rlnReferenceImage #1\n_rlnClassDistribution #2\n000001@stack.mrcs 0.6\n000002@stack.mrcs 0.4\n",
    "settings.json": json.dumps(
        {"templates": ["side=side.mrc"], "mask": ["circle:130"], "angle_step": 60.0, "threshold": ["0.4"]}
    ),
    "cluster.json": json.dumps({"settings": {"angle_step": 60.0}, "cluster": {"site": "slurm", "nodes": 2}}),
    "lane/cluster_info.json": json.dumps(
        {
            "name": "lane",
            "worker_bin_path": "/opt/w",
            "send_cmd_tpl": "{{ command }}",
            "qsub_cmd_tpl": "sbatch {{ script_path_abs }}",
            "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }}",
            "qdel_cmd_tpl": "scancel {{ cluster_job_id }}",
        }
    ),
    "lane/cluster_script.sh": "#!/bin/sh\n#SBATCH -n {{ num_cpu }}\n{{ run_cmd }}\n",
}


def build(top: Path) -> None:
    """Write everything below a folder, which is made the current one: the names in the files are relative."""
    os.environ["GEMPICK_CACHE"] = str(top / "cache")
    os.chdir(top)
    _images(top)
    for name, text in TEXTS.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    _coordinates(top)
    settings = make_settings(json.loads(TEXTS["settings.json"]))
    micrographs = find_micrographs([top / "mics"])
    pick_files(settings, micrographs, top / "results")
    run = (top / "results/run.json").read_text()
    timeless = re.sub(r'("[a-z_]*(?:seconds|time|started|finished)[a-z_]*": )[\d.e-]+', r"\g<1>0.25", run)
    (top / "results/run.json").write_text(timeless)
    export_job(settings, micrographs, top / "job", make_cluster({"site": "mpirun"}))
    _finish_job(top)
    _session(top, micrographs)
    stack = ParticleStack(top / "particles.mrcs", 8, "float32", {"box": 8})
    for name in ("mic0", "mic1"):
        stack.append(np.ones((2, 8, 8), np.float32), {"rlnCoordinateX": ["1.0", "2.0"]})
        entry = {"name": name, "digest": "0", "picks": 2, "error": None, "optics": None, "notes": []}
        stack.finish_micrograph({**entry, "outside": 0, "at_edge": 0, "dust": 0})
    stack.close()
    plan = next((top / "cache").glob("plan-*.json"))
    (top / "plan.json").write_bytes(plan.read_bytes())


def _images(top: Path) -> None:
    rng = np.random.default_rng(0)
    clean = -Blobs.image(SHAPE, SIZE, list(PLANTED), list(PLANTED.values()))
    pictures = [(clean + 0.3 * rng.standard_normal(SHAPE)).astype(np.float32) for _ in range(2)]
    for number, picture in enumerate(pictures):
        write_mrc(top / f"mics/mic{number}.mrc", picture, SIZE)
    template = -Blobs.image((44, 44), SIZE, [(22, 22)])
    write_mrc(top / "side.mrc", template, SIZE)
    y, x = np.mgrid[-22:22, -22:22]
    write_mrc(top / "mask.mrc", (np.hypot(x, y) <= 16).astype(np.float32), SIZE)
    write_mrc(top / "stack.mrcs", np.stack([template, template[::-1], template.T]), SIZE, stack=True)
    z = np.mgrid[-8:8, -8:8, -8:8]
    write_mrc(top / "map.mrc", np.exp(-np.square(z).sum(axis=0) / 12).astype(np.float32), 8.0)
    small = (pictures[0][:40, :48] * 30).clip(-127, 127)
    whole = mrc_bytes(small.astype(np.float32), (SIZE,) * 3, extended=b"SERI" * 40)
    for name, raw in {
        "float.mrc": whole,
        "bytes.mrc": mrc_bytes(small.astype("i1"), (SIZE,) * 3),
        "counts.mrc": mrc_bytes((small + 128).astype("u2"), (SIZE,) * 3, order=">"),
        "half.mrc": mrc_bytes(small.astype("f2"), (SIZE,) * 3),
        "packed.mrc": mrc_bytes((small + 128).astype("u2"), (SIZE,) * 3),
        "float.mrc.gz": gzip.compress(whole, mtime=0),
        "float.mrc.bz2": bz2.compress(whole),
    }.items():
        (top / name).write_bytes(raw)
    for name, compression in TIFFS.items():
        tifffile.imwrite(top / f"{name}.tif", small.astype(np.float32), compression=compression, rowsperstrip=16)
    tifffile.imwrite(
        top / "mic.tif", pictures[0], compression="zlib", resolution=(2.5e7, 2.5e7), resolutionunit=3, rowsperstrip=40
    )
    tifffile.imwrite(top / "tiled.tif", small.astype(np.uint16), tile=(16, 16), compression="zlib", byteorder=">")
    tifffile.imwrite(top / "big.tif", small.astype(np.int16), bigtiff=True)
    tifffile.imwrite(top / "resolution.tif", small, resolution=(2.5e7, 2.5e7), resolutionunit=3)
    tifffile.imwrite(top / "stack.tif", np.stack([template, template.T]).astype(np.float32), photometric="minisblack")


def _coordinates(top: Path) -> None:
    for name, made in FORMATS.items():
        made.write(top / f"coordinates/{name}/m{made.suffix}", PICKS, INFO)
        if made.set_writer is not None:
            sets = [(PICKS, INFO), (PICKS, replace(INFO, micrograph="mics/mic1.mrc", number=2))]
            made.write_set(top / f"coordinates/{name}/all{made.suffix}", sets)
    (top / "m.cs").write_bytes((top / "coordinates/cs/m.cs").read_bytes())
    fields = [
        ("uid", "<u8"),
        ("micrograph_blob/path", "S20"),
        ("micrograph_blob/shape", "<u4", (2,)),
        ("micrograph_blob/psize_A", "<f4"),
        ("mscope_params/exp_group_id", "<u4"),
    ]
    rows = np.zeros(2, fields)
    picks = np.load(top / "coordinates/cs/all.cs")
    known = [
        name for name in picks.dtype.names if name not in ("location/micrograph_path", "location/micrograph_shape")
    ]
    rows["uid"] = list(dict.fromkeys(picks["location/micrograph_uid"].tolist()))
    rows["micrograph_blob/path"] = [b"mics/mic0.mrc", b"mics/mic1.mrc"]
    rows["micrograph_blob/shape"], rows["micrograph_blob/psize_A"] = SHAPE, SIZE
    for name, table in (("exposures.cs", rows), ("without.cs", picks[known])):
        out = np.array(table, [(one, table.dtype[one]) for one in table.dtype.names])
        with (top / name).open("wb") as stream:
            np.save(stream, out)


def _finish_job(top: Path) -> None:
    """Put into the job folder what a rank leaves: results, records and a log."""
    job = open_job(top / "job")
    for file in (top / "results").rglob("*.star"):
        target = job.results / file.relative_to(top / "results")
        if file.name != "autopick.star":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    rows = {row["name"]: row for row in read_run(top / "results")["micrographs"]}
    job.progress.mkdir(exist_ok=True)
    log = RankLog(job.progress, 1, 0)
    log.start(ranks=1, distribution="micrographs", node=0, devices=[{"name": "cpu", "threads": 1}], plan={})
    for micrograph in job.micrographs:
        stem = micrograph.output_stem
        files = {f"{stem}_autopick.star": [1, "0"], f"candidates/{stem}.star": [1, "0"]}
        coverage = {"search_images": 6, "pairs": 6, "least": 1, "most": 1}
        job.write_record(micrograph, {"coverage": coverage, "row": rows[stem], "files": files})
        log.write("micrograph", name=stem, state="done", seconds=0.1)
        log.write("share", images=6, seconds=0.1)
    log.write("end")
    submitted = [{"job_id": "12", "site": "mpirun", "time": "2024-01-01T00:00:00+00:00"}]
    (top / "job/submitted.json").write_text(json.dumps(submitted))
    (top / "job/log").mkdir(exist_ok=True)
    (top / "job/log/job.out").write_text(f"started {time.gmtime().tm_year > 0}\n")


def _session(top: Path, micrographs: list[MicrographFile]) -> None:
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.session import SessionFolder
    from napari_gempick.widgets.state.state import Added, Edits, State, Tune, ViewSpec

    run = read_run(top / "results")
    state = State(
        files=tuple(micrographs),
        views=(ViewSpec("side", (str(top / "side.mrc"),), "circle:130", "#ff0000"),),
        values={"angle_step": 60.0},
        tune=Tune({"side": 0.4}),
        overrides={"mic0": Tune({"side": 0.5})},
        edits={"mic0": Edits(((40.0, 42.0),), (Added(12.0, 13.5, "side"),))},
    )
    results = {row["name"]: Result(row, None, run["diameter"], "0", False) for row in run["micrographs"]}
    folder = SessionFolder(top / "session")
    folder.save(state, results, "mic0")
    folder.close()
