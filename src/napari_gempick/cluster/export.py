"""Write a job folder: everything a cluster needs except the micrographs.

A job folder comes into being whole: it is written under a hidden name beside its place, then renamed.
"""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from napari_gempick import __version__
from napari_gempick.cluster.estimate import Estimate, estimate_job
from napari_gempick.cluster.folder import (
    FORMAT,
    JOB_FILE,
    PLAN,
    README,
    Job,
    checksum,
    micrograph_rows,
    named_files,
    open_job,
    with_files,
    write_job,
)
from napari_gempick.cluster.script import find_site, render, shortfalls, write_script
from napari_gempick.cluster.settings import as_cluster
from napari_gempick.cluster.site import confirm
from napari_gempick.device.plan import PlanStore, library_versions
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.preparation import find_edited
from napari_gempick.inputs.views import read_views
from napari_gempick.io.atomic import TEMPORARY, write_text
from napari_gempick.io.ctf import find_ctffind
from napari_gempick.io.listing import MicrographFile, as_micrographs
from napari_gempick.io.names import check_micrograph_name, check_name, split_suffix
from napari_gempick.io.template_list import copied_list, is_list, read_list
from napari_gempick.model.errors import Cancelled, GempickError, InputError, OutputError, SettingsError
from napari_gempick.results.run_file import formats_of
from napari_gempick.results.whole_run import alone_in

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from napari_gempick.cluster.settings import ClusterSettings
    from napari_gempick.cluster.site import Site
    from napari_gempick.model.settings import PickSettings

P = ParamSpec("P")


def in_one_piece(export: Callable[P, Exported]) -> Callable[P, Exported]:
    """Make an export leave a whole job folder at its argument `folder` or none, even when it is killed.

    What a killed export leaves is hidden, and the next export to the same folder removes it.
    """
    signature = inspect.signature(export)

    @functools.wraps(export)
    def whole(*args: P.args, **kwargs: P.kwargs) -> Exported:
        call = signature.bind(*args, **kwargs)
        place = Path(os.path.abspath(call.arguments["folder"]))
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            return export(*args, **kwargs)  # refuses it
        beside = place.with_name(TEMPORARY + place.name)
        waiting = call.arguments["folder"] = beside / place.name
        with alone_in(beside):
            try:
                shutil.rmtree(waiting, ignore_errors=True)
                made = export(*call.args, **call.kwargs)
                _move(made.job, place)
            except GempickError as error:
                raise type(error)(error.sentence.replace(str(waiting), str(place)), place) from error
            finally:
                shutil.rmtree(beside, ignore_errors=True)
        return replace(made, job=open_job(place))

    return whole


def _move(job: Job, place: Path) -> None:
    """Give a job folder its own name; its script names the new place."""
    write_script(job, place=place)
    try:
        if place.exists():
            place.rmdir()
        job.folder.rename(place)
    except OSError as error:
        raise OutputError(f"Cannot write {place}: {error.strerror or error}; choose another folder.", place) from error


_IMAGES = ("templates", "mask")
"""Settings that may name a STAR file of images."""


@dataclass(frozen=True)
class Exported:
    """A job folder that was written, and what the job will take."""

    job: Job
    estimate: Estimate
    remarks: tuple[str, ...] = ()
    """Sentences about a lane that asks for less than the job uses."""
    left_out: tuple[str, ...] = ()
    """Sentences about micrographs whose names cannot be used."""


@in_one_piece
def export_job(
    settings: PickSettings,
    micrographs: str | Path | Sequence[str | Path] | Sequence[MicrographFile],
    folder: Path | str,
    cluster: ClusterSettings | Mapping[str, Any],
    *,
    root: str | None = None,
    cluster_root: str | None = None,
    notes: Sequence[str] = (),
    cancel: threading.Event | None = None,
) -> Exported:
    """Write a job folder.

    Parameters
    ----------
    settings : PickSettings
    micrographs : as `pick_files`
    folder : Path or str
        Must be new or empty.
    cluster : ClusterSettings or mapping
        The settings of `gempick job export`, by their names. `python` and `mpiexec` at their defaults, without
        environment lines, become this interpreter and its mpiexec.
    root : str, optional
        Folder of all micrographs here; their paths are then stored relative to it.
    cluster_root : str, optional
        What that folder is called on the cluster.
    notes : sequence of str
        Sentences about the list of micrographs, for run.json.
    cancel : threading.Event, optional
        Set it to stop: nothing is left, and Cancelled is raised.

    Raises
    ------
    GempickError
        Settings, templates, masks or names cannot be used, or the folder cannot be written.

    Examples
    --------
    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, diameter=385, angle_step=30)
    >>> made = gp.export_job(settings, "micrograph_002.mrc", "job", {"site": "mpirun", "tasks_per_node": 1})
    >>> gp.job_status("job").state
    'exported'
    """
    cluster = as_cluster(cluster)
    folder = Path(os.path.abspath(folder))
    check_name(str(folder))
    if cluster_root is not None and root is None:
        raise SettingsError("--cluster-root needs --root, the folder of the micrographs on this machine.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder} exists and is not empty; name a new folder for the job.", folder)
    micrographs, left_out = _usable(as_micrographs(micrographs))
    formats_of(settings)
    site, cluster = _placed(cluster)
    confirm(site)
    makers = BankMaker(settings, read_views(settings), cancel)
    settings.thresholds.of(makers.index.view_names)
    rows = micrograph_rows(micrographs, None if root is None else os.path.abspath(root))
    plans = PlanStore()
    copied, files = _copy_files(settings, micrographs, folder, cancel)
    input_bytes = sum(entry["bytes"] for entry in files.values())
    expected = estimate_job(settings, micrographs, cluster, plans, makers=makers, input_bytes=input_bytes)
    if plans.path.exists():
        write_text(folder / PLAN, plans.path.read_text(encoding="utf-8"))
    stored = None if root is None else (cluster_root or os.path.abspath(root))
    content: dict[str, Any] = {
        "format": FORMAT,
        "program": f"napari-gempick {__version__}",
        "settings": copied.model_dump(mode="json"),
        "cluster": cluster.model_dump(mode="json"),
        "root": stored,
        "local_root": None if root is None else os.path.abspath(root),
        "plan_of": library_versions(),
        "distribution": expected.distribution,
        "memory": cluster.memory or expected.memory,
        "views": makers.record(),
        "search_images": len(makers.index),
        "estimate": expected.record(),
        "files": files,
        "notes": [*notes, *left_out, *makers.step_notes()],
        "micrographs": rows,
    }
    write_job(folder, content)
    job = write_script(open_job(folder), site)
    write_text(folder / README, _readme(job, expected))
    _stop_if(cancel)
    return Exported(job, expected, _remarks(site, job.content["script"]["text"], cluster), left_out)


def _stop_if(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled("Stopped.")


def _usable(micrographs: Sequence[MicrographFile]) -> tuple[list[MicrographFile], tuple[str, ...]]:
    """Return the micrographs whose results can be named after them, and a sentence about each of the others."""
    usable, left_out = [], []
    for micrograph in micrographs:
        try:
            check_micrograph_name(str(micrograph.path), micrograph.stem)
        except InputError as error:
            left_out.append(error.sentence)
        else:
            usable.append(micrograph)
    if left_out and not usable:
        raise InputError(left_out[0])
    return usable, tuple(left_out)


def preview_script(
    settings: PickSettings, folder: Path | str, cluster: ClusterSettings, memory: int | None
) -> tuple[str, tuple[str, ...]]:
    """Return the script that `export_job` would write, and its remarks.

    `memory` is in GB, where the cluster settings say none.

    Raises
    ------
    SettingsError
        There is no such site, or its template cannot be filled in.
    """
    site, cluster = _placed(cluster)
    job = Job(Path(os.path.abspath(folder)), settings, cluster, (), {"memory": cluster.memory or memory})
    text = render(job, site)
    return text, _remarks(site, text, cluster)


def _placed(cluster: ClusterSettings) -> tuple[Site, ClusterSettings]:
    """Return the site, and the settings with its whole path and this interpreter."""
    site = find_site(cluster.site)
    return site, _with_interpreter(cluster.model_copy(update={"site": str(site.lane or cluster.site)}))


def _remarks(site: Site, text: str, cluster: ClusterSettings) -> tuple[str, ...]:
    return shortfalls(site.name, text, cluster) if site.launches else ()


def input_bytes_of(settings: PickSettings) -> int:
    """Return the bytes of the templates and masks that a job folder gets copies of."""
    paths = {Path(text) for _, _, text in named_files(settings)}
    return sum(path.stat().st_size for path in paths if path.is_file())


def _with_interpreter(cluster: ClusterSettings) -> ClusterSettings:
    """Fill in this interpreter and the mpiexec beside it where neither they nor an environment were named."""
    beside = Path(sys.executable).parent / "mpiexec"
    changes: dict[str, str] = {}
    if not cluster.environment:
        if cluster.python == "python":
            changes["python"] = sys.executable
        if cluster.mpiexec == "mpiexec" and beside.exists():
            changes["mpiexec"] = str(beside)
    return cluster.model_copy(update=changes)


def _copy_files(
    settings: PickSettings, micrographs: Sequence[MicrographFile], folder: Path, cancel: threading.Event | None
) -> tuple[PickSettings, dict[str, Any]]:
    """Copy the files that settings name into numbered folders; return settings that name the copies."""
    files: dict[str, Any] = {}
    paths: dict[tuple[str, int], str] = {}
    for name, place, text in named_files(settings):
        source, below = Path(text), Path(name) / str(place + 1)
        check_name(source.name)
        paths[name, place] = (below / source.name).as_posix()
        parts = [source]
        if source.is_dir():
            parts = _files_in(source, name, settings, micrographs)
        (folder / paths[name, place]).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            (folder / paths[name, place]).mkdir(exist_ok=True)  # also where it has nothing of these micrographs
        targets = {part: below / source.name / part.relative_to(source) for part in parts}
        if name in _IMAGES and is_list(source):
            listed = dict.fromkeys(row.path for row in read_list(source))
            beside = below / f"{source.name}_files"
            targets |= {path: beside / str(number) / path.name for number, path in enumerate(listed, 1)}
        for part, target in targets.items():
            _stop_if(cancel)
            try:
                (folder / target).parent.mkdir(parents=True, exist_ok=True)
                if part == source and len(targets) > len(parts):
                    names = {path: targets[path].relative_to(below).as_posix() for path in targets if path != source}
                    copied_list(source, names, folder / target)
                else:
                    shutil.copyfile(part, folder / target)
                entry = {"bytes": (folder / target).stat().st_size, "blake2b": checksum(folder / target)}
            except OSError as error:
                sentence = f"Cannot copy {part} into {folder}: {error.strerror or error}; choose another folder."
                raise OutputError(sentence, folder) from error
            files[target.as_posix()] = {**entry, "from": str(part)}
    return with_files(settings, paths), files


def _files_in(folder: Path, name: str, settings: PickSettings, micrographs: Sequence[MicrographFile]) -> list[Path]:
    """Return the files of a folder that a setting names which the job needs."""
    if name == "ctf":
        return find_ctffind(folder)
    if name == "exclude_edited":
        found = {find_edited(settings, Path(os.devnull), micrograph) for micrograph in micrographs}
        return sorted(path for path in found if path is not None)
    return _masks_in(folder, micrographs)


def _masks_in(folder: Path, micrographs: Sequence[MicrographFile]) -> list[Path]:
    """Return the files of a folder of exclusion masks that belong to the micrographs."""
    stems = {split_suffix(micrograph.path.name)[0] for micrograph in micrographs}
    found = sorted(path for path in folder.iterdir() if path.is_file() and split_suffix(path.name)[0] in stems)
    if not found:
        raise InputError(f"{folder} contains no exclusion mask named after a micrograph; add one, or omit --exclude.")
    return found


def _readme(job: Job, expected: Estimate) -> str:
    root = job.content["root"]
    where = f"below {root} (root in {JOB_FILE}; `gempick job submit --root DIR` changes it)" if root else "absolute"
    lines = [
        f"A picking job of {job.content['program']}.",
        "",
        *expected.sentences(),
        "",
        "gempick job submit FOLDER     hand it to the scheduler (again: continue with what is missing)",
        "gempick job status FOLDER     micrographs done and failed, rates, time left",
        "gempick job collect FOLDER    one index, one run.json, one report, in results/",
        "gempick job cancel FOLDER     end it",
        "",
        f"{job.content['search_images']} rotated templates; the paths of the micrographs are {where}.",
        "The folder may be moved or copied as a whole.",
        "The nodes need, from a copy of the repository: pip install '.[mpi]'",
        "submit.sh may be edited. By hand, without a scheduler:",
        "    mpiexec -n RANKS python -m mpi4py -m napari_gempick.cluster.mpi FOLDER",
        f"job.json     settings and micrographs       templates/ masks/ exclude/     copies, checksums in {JOB_FILE}",
        f"{PLAN}    FFT plan for {job.content['plan_of']['cpu']}: with it every rank gives the same bytes",
    ]
    return "\n".join(lines) + "\n"
