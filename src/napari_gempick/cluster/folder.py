"""The job folder: what lies where, job.json, checksums, and the records of micrographs.

job.json      settings, cluster, micrographs, files with checksums, estimate
templates/ masks/ exclude/ exclude_edited/    copies, each in a numbered folder of its own
plan.json     the stored plan that makes every rank's bytes the same
submit.sh     the script for the scheduler
launch.sh     what a lane of cryoSPARC starts
results/      as `gempick pick -o` writes it; autopick.star and run.json once collected
records/      one for each micrograph: its line of run.json, coverage, checksums of its results
progress/     one log for each rank and attempt
log/          what the scheduler and the program print
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_gempick.cluster.records import JobRecord, MicrographRecord
from napari_gempick.cluster.settings import ClusterSettings, make_cluster
from napari_gempick.device.locks import Busy, take
from napari_gempick.engine.templates.masks import parse_shape
from napari_gempick.io.atomic import sweep, write_text
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.reading import checked, read_object
from napari_gempick.io.stack import split_sections
from napari_gempick.model.errors import GempickError, InputError, OutputError, SettingsError
from napari_gempick.model.settings import PickSettings, make_settings
from napari_gempick.model.values import AUTO, Named
from napari_gempick.results.run_file import check_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from filelock import FileLock

    from napari_gempick.results.folder import Results

JOB_FILE, SCRIPT, PLAN, README = "job.json", "submit.sh", "plan.json", "README.txt"
LAUNCHER = "launch.sh"
FORMAT = 1


def checksum(path: Path) -> str:
    """Return the BLAKE2b checksum of a file, 16 bytes in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def named_files(settings: PickSettings) -> list[tuple[str, int, str]]:
    """Return the files that settings name: (setting, place in it, path without sections); place -1: not a tuple."""
    found = [("templates", i, str(split_sections(Named.read(t).value)[0])) for i, t in enumerate(settings.templates)]
    for i, text in enumerate(settings.mask):
        value = Named.read(text).value
        if value.lower() != "auto" and parse_shape(value) is None:
            found.append(("mask", i, str(split_sections(value)[0])))
    if settings.exclude not in (None, AUTO):
        found.append(("exclude", -1, str(settings.exclude)))
    if settings.exclude_edited is not None:
        found.append(("exclude_edited", -1, settings.exclude_edited))
    if settings.ctf is not None:
        found.append(("ctf", -1, settings.ctf))
    return found


def with_files(settings: PickSettings, paths: dict[tuple[str, int], str]) -> PickSettings:
    """Return settings with the files at (setting, place) replaced; view names and lists of sections stay."""
    values: dict[str, Any] = {name: list(getattr(settings, name)) for name in ("templates", "mask")}
    values |= {"exclude": settings.exclude, "exclude_edited": settings.exclude_edited, "ctf": settings.ctf}
    for (name, place), path in paths.items():
        if place < 0:
            values[name] = path
            continue
        view, value = Named.read(values[name][place])
        sections = split_sections(value)[1]
        path = f"{path}[{sections}]" if sections else path
        values[name][place] = str(Named(view, path))
    return make_settings({**settings.model_dump(), **values})


@dataclass(frozen=True)
class Job:
    """A job folder, read.

    Attributes
    ----------
    folder : Path
        Absolute.
    settings : PickSettings
        With the files of the folder.
    cluster : ClusterSettings
    micrographs : tuple of MicrographFile
    content : dict
        job.json.
    """

    folder: Path
    settings: PickSettings
    cluster: ClusterSettings
    micrographs: tuple[MicrographFile, ...]
    content: dict[str, Any]

    @property
    def results(self) -> Path:
        """The folder of results."""
        return self.folder / "results"

    @property
    def progress(self) -> Path:
        """The folder of the ranks' logs."""
        return self.folder / "progress"

    @property
    def plan(self) -> Path:
        """The stored plan."""
        return self.folder / PLAN

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each micrograph by the name of its results."""
        return {micrograph.output_stem: i for i, micrograph in enumerate(self.micrographs)}

    def record(self, micrograph: MicrographFile) -> Path:
        """Return where a micrograph's record lies."""
        return self.folder / "records" / f"{micrograph.output_stem}.json"

    def read_record(self, micrograph: MicrographFile) -> dict[str, Any]:
        """Return a micrograph's record; empty where there is none that can be read."""
        path = self.record(micrograph)
        try:
            content = read_object(path)
            checked(MicrographRecord, content, path, "submit the job again")
            if "row" in content:
                row = content["row"]
                check_row(row, path)
                whole = "error" in row or {"picks", "shape", "pixel_size"} <= row.keys()
                if row["name"] != micrograph.output_stem or not whole:
                    return {}
        except InputError:
            return {}
        return content

    def write_record(self, micrograph: MicrographFile, content: dict[str, Any]) -> None:
        """Write a micrograph's record."""
        write_text(self.record(micrograph), json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    def rewritten(self, **changes: Any) -> Job:
        """Write job.json with some of its values replaced; return the job."""
        content = {**self.content, **changes}
        write_job(self.folder, content)
        return open_job(self.folder)

    def check_files(self) -> None:
        """Compare templates and masks with their checksums.

        Raises
        ------
        InputError
            A file is missing, truncated or changed.
        """
        for name, known in self.content["files"].items():
            path = self.folder / name
            try:
                size = path.stat().st_size
            except OSError as error:
                raise InputError(
                    f"{path} is listed in {JOB_FILE} but is missing from the job folder; export the job again.", path
                ) from error
            if size != known["bytes"]:
                raise InputError(
                    f"{path} has {size} bytes, {known['bytes']} by {JOB_FILE}: it is truncated or changed; copy it "
                    "again or export the job again.",
                    path,
                )
            if checksum(path) != known["blake2b"]:
                raise InputError(
                    f"{path} is not the file that was exported (its checksum in {JOB_FILE} differs); copy it again or "
                    "export the job again.",
                    path,
                )

    def check_writable(self) -> None:
        """Raise OutputError when nothing can be written into the job folder."""
        try:
            write_text(self.progress / ".writable", "")
            (self.progress / ".writable").unlink(missing_ok=True)
        except (OutputError, OSError) as error:
            raise OutputError(
                f"Nothing can be written into the job folder {self.folder} ({_reason(error)}); change its permissions, "
                "free space, or copy the job elsewhere.",
                self.folder,
            ) from error

    def claim(self) -> FileLock | None:
        """Return a lock that no other run of this job can take while this process lives.

        None where the file system has no locks.

        Raises
        ------
        SettingsError
            Another run holds it.
        """
        try:
            return take(self.folder / ".lock")
        except Busy:
            raise SettingsError(
                f"Another run of this job is in progress in {self.folder}; wait for it, or cancel it.", self.folder
            ) from None

    def sweep(self) -> None:
        """Remove the temporary files of ranks that were killed."""
        for top in (self.results, self.folder / "records"):
            sweep(top)


def files_of(results: Results, micrograph: MicrographFile, view_names: tuple[str, ...]) -> dict[str, Any]:
    """Return the sizes of a micrograph's results, and checksums of those that are small; empty where one is missing."""
    try:
        everything = results.everything(micrograph, view_names)
        found: dict[str, Any] = {str(path.relative_to(results.folder)): [path.stat().st_size] for path in everything}
        for path in results.texts(micrograph):
            found[str(path.relative_to(results.folder))].append(checksum(path))
    except OSError:
        return {}
    return found


def _reason(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, GempickError) and error.__cause__ is not None else error
    return str(getattr(cause, "strerror", None) or cause)


def write_job(folder: Path, content: dict[str, Any]) -> None:
    """Write job.json."""
    write_text(folder / JOB_FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def micrograph_rows(micrographs: Sequence[MicrographFile], root: str | None) -> list[dict[str, Any]]:
    """Return what job.json says about micrographs: paths relative to `root`, absolute without one.

    Raises
    ------
    InputError
        A micrograph does not lie below the root.
    """
    rows = []
    for micrograph in micrographs:
        path = str(micrograph.path)
        if root is not None:
            if not micrograph.path.is_relative_to(root):
                raise InputError(f"{path} does not lie below {root}; give another --root.", path)
            path = micrograph.path.relative_to(root).as_posix()
        row: dict[str, Any] = {"path": path, "relative": str(micrograph.relative)}
        if micrograph.pixel_size is not None:
            row["pixel_size"] = micrograph.pixel_size if math.isfinite(micrograph.pixel_size) else 0.0
        rows.append({**row, "whole_name": True} if micrograph.whole_name else row)
    return rows


def open_job(folder: Path | str, root: str | None = None) -> Job:
    """Read a job folder, wherever it was moved to.

    Parameters
    ----------
    folder : Path or str
    root : str, optional
        Where the micrographs' root lies on this machine; default: as job.json says.

    Raises
    ------
    SettingsError
        There is no job.json, or it is damaged.
    """
    where = Path(os.path.abspath(folder))
    path = where / JOB_FILE
    if not path.exists():
        raise SettingsError(f"{path} is missing; {folder} is not a job folder.", path)
    try:
        content = read_object(path)
        checked(JobRecord, content, path, "correct it, or export the job again")
    except InputError as error:
        raise SettingsError(error.sentence, path) from error
    try:
        settings, cluster = make_settings(content["settings"]), make_cluster(content["cluster"])
        paths = {(name, place): str(where / text) for name, place, text in named_files(settings)}
        settings = with_files(settings, paths)
    except (SettingsError, InputError) as error:
        raise SettingsError(f"{path}: {error.sentence}", path) from error
    micrographs = tuple(
        MicrographFile(
            Path(root or content["root"] or "", row["path"]),
            PurePosixPath(row["relative"]),
            row.get("whole_name") is True,
            row.get("pixel_size"),
        )
        for row in content["micrographs"]
    )
    if content.get("format") != FORMAT:
        raise SettingsError(f"{path} was written by another version; export the job again.", path)
    return Job(where, settings, cluster, micrographs, content)


def with_root(job: Job, root: str) -> Job:
    """Return the job with the micrographs' root elsewhere."""
    moved = open_job(job.folder, root)
    return replace(job, micrographs=moved.micrographs)
