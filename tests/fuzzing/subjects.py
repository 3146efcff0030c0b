"""What is damaged and who reads it: each subject is a file among its neighbours, and a reader with checks."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fuzzing import checks
from fuzzing.world import SHAPE, TIFFS
from napari_gempick.cluster.collect import collect_job
from napari_gempick.cluster.folder import open_job
from napari_gempick.cluster.settings import make_cluster
from napari_gempick.cluster.site import read_lane
from napari_gempick.cluster.status import job_status
from napari_gempick.device.plan import PlanStore
from napari_gempick.evaluation.compare import compare_sets, comparison
from napari_gempick.evaluation.evaluate import evaluate_set, forget_runs, recall_rows
from napari_gempick.extraction.particle_stack import ParticleStack
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.coordinates import PICK_FILES, TRUTH_FILES, read_coordinates, read_entries
from napari_gempick.io.ctf import CtfTable
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.formats.coordinate_set import ReadOptions
from napari_gempick.io.formats.cryosparc import read_cs, read_exposures
from napari_gempick.io.images.micrograph import as_float32, header_pixel_size, open_image, read_micrograph
from napari_gempick.io.listing import find_micrographs
from napari_gempick.io.micrograph_names import Micrographs, MicrographTable, read_name_table
from napari_gempick.io.names import check_micrograph_name, is_below
from napari_gempick.io.stack import read_map, read_mask, read_stack
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.geometry import Orientation
from napari_gempick.model.settings import make_settings
from napari_gempick.report.gather import gather
from napari_gempick.results.coordinate_files import PartReader
from napari_gempick.results.run_file import (
    earlier_rows,
    merged,
    micrograph_of,
    read_cluster,
    read_run,
    read_settings,
    settings_of,
)
from napari_gempick.results.whole_run import left_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.io.formats.coordinate_set import CoordinateSet


@dataclass(frozen=True)
class Subject:
    """A file that is damaged.

    Attributes
    ----------
    target : str
        Below the world's folder.
    kind : str
        How it is damaged: see `mutations`.
    read : callable
        Reads it, given its path, and checks what it gets.
    beside : tuple of str
        Files and folders of the world that reading needs.
    named : tuple of str
        What an error may name instead: a file that cannot be used because of the damaged one.
    """

    target: str
    kind: str
    read: Callable[[Path], None]
    beside: tuple[str, ...] = ()
    named: tuple[str, ...] = ()

    def lay_out(self, world: Path, folder: Path) -> Path:
        """Copy the file and what stands beside it; return its place."""
        for name in (*self.beside, self.target):
            source, place = world / name, folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, place)
        return folder / self.target


def _image(path: Path) -> None:
    image = open_image(path)
    checks.want(len(image.data.shape) == 3, f"shape {image.data.shape}")
    checks.image(image.data[0], image.data.shape[1:])
    checks.pixel_size(header_pixel_size(image))
    micrograph = read_micrograph(path)
    data, _ = as_float32(micrograph, "replace")
    checks.want(np.isfinite(data).all(), "pixels that are not finite")


def _stack(path: Path) -> None:
    stack = read_stack(path)
    checks.image(stack.data)
    checks.want(np.isfinite(stack.data).all(), "pixels that are not finite")
    checks.pixel_size(stack.pixel_size)
    checks.want(all(share is None or 0 <= share <= 1.001 for share in stack.shares), f"shares {stack.shares}")


def _mask(path: Path) -> None:
    mask = read_mask(path).data
    checks.want(mask.min() >= 0 and mask.max() <= 1, "weights")


def _map(path: Path) -> None:
    data, size = read_map(path)
    checks.image(data)
    checks.want(data.ndim == 3 and np.isfinite(data).all(), "voxels")
    checks.pixel_size(size)


def _micrographs(path: Path) -> None:
    for file in find_micrographs([path]):
        with contextlib.suppress(InputError):  # such a micrograph fails when it is picked
            check_micrograph_name(str(file.path), file.output_stem)
            checks.want(is_below(file.output_stem), f"output {file.output_stem!r}")
        checks.listed(file.pixel_size)


def _ctf(path: Path) -> None:
    table = CtfTable(path)
    for name in ("mics/mic0.mrc", "mics/mic1.mrc"):
        if table.has(Path(name)):
            checks.ctf(table.of(Path(name)))


def _table(path: Path) -> None:
    table = MicrographTable(path)
    table.find(("mics", "mic0"))


def _again(found: CoordinateSet, path: Path) -> None:
    """Check coordinates, write them as CSV and read them back."""
    checks.coordinates(found)
    place = path.parent / "again.csv"
    info = PicksInfo(1.0, 24, found.view_names, "", SHAPE)
    FORMATS["csv"].write(place, found.picks, info)
    again = read_coordinates(place)
    checks.want(len(again.picks) == len(found.picks), "rows were lost on writing")
    close = np.allclose(again.picks.x, found.picks.x, rtol=1e-9, atol=1e-3)
    checks.want(close, "positions changed on writing")


def _of_format(name: str) -> Callable[[Path], None]:
    options = ReadOptions(SHAPE, spacing=10.0)
    return lambda path: _again(FORMATS[name].read(path, options), path)


def _guessed(path: Path) -> None:
    _again(read_coordinates(path, shape=SHAPE, spacing=10.0), path)


def _exposures(path: Path) -> None:
    for one in read_exposures(path):
        checks.name(one.path)
        checks.want(all(0 < side <= 10**6 for side in one.shape), f"shape {one.shape}")
        checks.want(one.pixel_size is None or 0 < one.pixel_size < 1e7, f"pixel size {one.pixel_size}")
    checks.coordinates(read_cs(path.parent / "without.cs", read_exposures(path)))
    for micrograph in Micrographs(path).exposures:
        checks.want(micrograph.shape is None or min(micrograph.shape) > 0, "shape")


def _passthrough(path: Path) -> None:
    checks.coordinates(read_cs(path, read_exposures(path.parent / "exposures.cs")))


def _candidates(path: Path) -> None:
    checks.candidates(read_candidates(path))


def _run(path: Path) -> None:
    folder = path.parent
    run = read_run(folder)
    settings_of(folder, run)
    for row in earlier_rows(folder):
        checks.want(is_below(micrograph_of(row).output_stem), "a name outside")
    left_over(folder, ())
    gather(folder, particles=2)
    _parts(folder)


def _parts(folder: Path) -> None:
    reader = PartReader(None, Orientation(), None, None, None)
    for part in reader.read([folder]):
        checks.coordinates(part.found)
    for failed in reader.failed:
        checks.want(len(failed["error"].splitlines()) == 1, failed["error"])


def _truth(path: Path) -> None:
    forget_runs()
    from napari_gempick.evaluation.matching import Rules

    truths = read_entries(path, TRUTH_FILES).entries
    results = path.parent / "results"
    evaluate_set("picks", results, truths, Rules(5.0), recall_rows(truths, None), None)
    evaluate_set("picks", path, read_entries(results, PICK_FILES).entries, Rules(5.0), [None] * 9, None)


def _compared(path: Path) -> None:
    other = path.parent / "other"
    other.mkdir()
    (other / path.name).write_text(
        "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n32.0 32.0\n80.0 100.0\n", encoding="utf-8"
    )
    forget_runs()
    sets = {"a": (path, PICK_FILES), "b": (other, PICK_FILES)}
    comparison(["a", "b"], compare_sets(sets, 5.0))


def _job(path: Path) -> None:
    job = open_job(path.parent)
    for micrograph in job.micrographs:
        checks.want(is_below(micrograph.output_stem), "a name outside")
        checks.listed(micrograph.pixel_size)
        checks.name(str(micrograph.path))
    job.check_files()
    _status(path)


def _status(path: Path) -> None:
    folder = path.parents[len(path.parts) - 1 - path.parts.index("job") - 1]
    status = job_status(folder, ask=False)
    checks.want(status.done + status.failed <= status.total <= 2, f"{status}")
    checks.want(status.done >= 0 and status.failed >= 0, f"{status}")
    left = status.seconds_left
    checks.want(left is None or 0 <= left < 1e12, f"{left} seconds left")
    for rank in status.ranks:
        checks.want(np.isfinite(rank.seconds_ago) and isinstance(rank.rank, int), f"{rank}")
        rate = rank.images_per_second
        checks.want(rate is None or (0 <= rate < 1e15), f"{rank}")


def _collected(path: Path) -> None:
    _status(path)
    folder = path.parents[len(path.parts) - 1 - path.parts.index("job") - 1]
    out = folder.parent / "collected"
    collect_job(folder, out)
    read_run(out)


def _session(path: Path) -> None:
    from napari_gempick.widgets.state.session import read_session

    state, results, current = read_session(path.parent)
    for file in state.files:
        checks.want(is_below(file.output_stem), "a name outside")
        checks.listed(file.pixel_size)
    for tune in (state.tune, *state.overrides.values()):
        checks.want(all(isinstance(value, int | float) for value in tune.thresholds.values()), f"{tune}")
    for edits in state.edits.values():
        values = [*edits.rejected, *((one.x, one.y) for one in edits.added)]
        checks.want(all(np.isfinite(value) for pair in values for value in pair), f"{edits}")
    checks.want(current is None or isinstance(current, str), f"{current}")
    for result in results.values():
        checks.want(isinstance(result.row, dict) and result.diameter > 0, f"{result}")
    with contextlib.suppress(SettingsError):  # shown when the search is asked for
        state.settings()


def _settings(path: Path) -> None:
    merged(make_settings, read_settings, path, {})


def _cluster(path: Path) -> None:
    merged(make_cluster, read_cluster, path, {})


def _names(path: Path) -> None:
    for name, micrograph in read_name_table(path).items():
        checks.name(name)
        checks.name(micrograph)


def _journal(path: Path) -> None:
    stack = ParticleStack(path.parents[1] / "particles.mrcs", 8, "float32", {"box": 8}, resume=True)
    checks.want(0 <= stack.count <= 4 and stack.count == 2 * len(stack.done), f"{stack.count} particles")
    checks.want(all(np.isfinite(stack._stats.values())), f"{stack._stats.values()}")
    stack.append(np.ones((1, 8, 8), np.float32), {"rlnCoordinateX": ["3.0"]})
    stack.close()


def _plan(path: Path) -> None:
    height, width = PlanStore(path).tile_shape("a size", lambda: (64, 64))
    checks.want(height > 0 and width > 0, f"{height} x {width}")
    for height, width in PlanStore(path)._tiles.values():
        checks.want(1 <= height <= 10**6 and 1 <= width <= 10**6, f"{height} x {width}")


def _lane(path: Path) -> None:
    site = read_lane(path.parent)
    checks.want(site.submit and site.cancel, f"{site}")


_JOB = ("job",)
_RESULTS = ("results", "side.mrc", "mics")


def subjects(world: Path) -> list[Subject]:
    """Return every subject; their files lie below `world`."""
    found = [Subject(f"{name}.tif", "tiff", _image) for name in (*TIFFS, "tiled", "big", "resolution")]
    found += [Subject(f"{name}.mrc", "mrc", _image) for name in ("float", "bytes", "counts", "half")]
    found += [Subject(f"float.mrc.{name}", "packed", _image) for name in ("gz", "bz2")]
    found += [Subject("stack.mrcs", "mrc", _stack), Subject("stack.tif", "tiff", _stack)]
    found += [Subject("mask.mrc", "mrc", _mask), Subject("map.mrc", "mrc", _map)]
    found += [Subject(name, "text", _stack, ("stack.mrcs",)) for name in ("templates.star", "model.star")]
    found += [Subject("stack.mrcs", "mrc", lambda path: _stack(Path(f"2@{path}")))]
    found += [Subject("ctf.star", "text", read) for read in (_micrographs, _ctf, _table)]
    found += [Subject("mic0_diag.txt", "text", _ctf)]
    for name in FORMATS:
        kind = {"cs": "cs", "eman2": "json"}.get(name, "text")
        for file in sorted((world / "coordinates" / name).rglob("*.*")):
            if file.is_file():
                found.append(Subject(str(file.relative_to(world)), kind, _of_format(name)))
    found += [
        Subject(name, "text", _guessed)
        for name in ("particles_31.star", "gempicker.txt", "filaments.box", "segments.box", "napari.csv", "clicked.csv")
    ]
    found += [
        Subject("project.csg", "text", _guessed, ("m.cs",)),
        Subject("exposures.cs", "cs", _exposures, ("without.cs",), ("without.cs",)),
        Subject("without.cs", "cs", _passthrough, ("exposures.cs",)),
        Subject("results/candidates/mic0.star", "text", _candidates),
        Subject("results/run.json", "json", _run, _RESULTS),
        Subject("results/run.json", "json", _run, _RESULTS),
        Subject("results/autopick.star", "text", lambda path: _parts(path.parent), _RESULTS),
        Subject("mic0_truth.csv", "text", _truth, ("results",)),
        Subject("coordinates/star/m_autopick.star", "text", _compared),
        Subject("job/job.json", "json", _job, _JOB),
        Subject("job/job.json", "json", _job, _JOB),
        Subject("job/submitted.json", "json", _status, _JOB),
        Subject("job/progress/attempt-001-rank-00000.jsonl", "json", _status, _JOB),
        Subject("job/progress/attempt-001-rank-00000.jsonl", "json", _collected, (*_JOB, "mics")),
        Subject("job/records/mic0.json", "json", _collected, (*_JOB, "mics")),
        Subject("settings.json", "json", _settings),
        Subject("cluster.json", "json", _cluster),
        Subject("lane/cluster_info.json", "json", _lane, ("lane",)),
        Subject("names.csv", "text", _names),
        Subject("particles.mrcs.partial/journal.jsonl", "json", _journal, ("particles.mrcs.partial",)),
        Subject("plan.json", "json", _plan),
        Subject("session/session.json", "json", _session),
        Subject("session/session.json", "json", _session),
    ]
    return found
