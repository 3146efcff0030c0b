"""Make one data set of a job's results: index, run.json, report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick.cluster.folder import files_of, open_job, with_root
from napari_gempick.cluster.records import read_logs
from napari_gempick.cluster.status import job_status
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import read_views
from napari_gempick.io.atomic import atomic_path, write_text
from napari_gempick.model.errors import OutputError, SettingsError
from napari_gempick.model.values import counted, figures
from napari_gempick.results.folder import INDEX_FILE, Results
from napari_gempick.results.run_file import RUN_FILE, columns_of
from napari_gempick.results.whole_run import choose_by_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.cluster.folder import Job

REPORT = "report.md"


def collect_job(
    folder: Path | str, output: Path | str | None = None, notify: Callable[[str], None] = lambda sentence: None
) -> dict[str, Any]:
    """Write autopick.star, run.json and report.md of what is done so far; return what run.json says.

    Automatic thresholds are chosen again with the evidence of all micrographs that are done.

    Parameters
    ----------
    folder : Path or str
        The job's.
    output : Path or str, optional
        Copy the results there; default: they stay in `results` of the job folder. Must be new or empty.
    notify : callable
        Receives sentences for the user.

    Raises
    ------
    GempickError
        It is not a job folder, nothing is done yet, or the output cannot be written.

    Examples
    --------
    See `submit_job`.
    """
    job = open_job(folder)
    local = job.content.get("local_root")
    if local is not None and Path(local).is_dir():
        job = with_root(job, local)
    records = {micrograph.output_stem: job.read_record(micrograph) for micrograph in job.micrographs}
    rows: list[dict[str, Any]] = []
    for micrograph in job.micrographs:
        record = records[micrograph.output_stem]
        if "row" in record:
            rows.append({**record["row"], "path": str(micrograph.path), "coverage": record["coverage"]})
    if not rows:
        raise SettingsError(f"No micrograph of {folder} is done yet; see gempick job status.", job.folder)
    target = job.results
    if output is not None:
        target = Path(os.path.abspath(output))
        _copy(job, records, target)
    makers = BankMaker(job.settings, read_views(job.settings))
    results = Results(target, job.settings, makers.diameter)
    views, by_name = makers.index.view_names, {row["name"]: row for row in rows}
    for name in choose_by_run(results, job.settings, views, job.micrographs, by_name, notify):
        if target == job.results:  # otherwise a job that continues would take them for damaged
            micrograph = job.micrographs[job.numbers[name]]
            row = {key: value for key, value in by_name[name].items() if key != "coverage"}
            row["path"] = records[name]["row"]["path"]
            files = files_of(results, micrograph, views)
            job.write_record(micrograph, {**records[name], "row": row, "files": files})
    rows = list(by_name.values())
    good = {row["name"] for row in rows if "error" not in row}
    results.write_index([micrograph for micrograph in job.micrographs if micrograph.output_stem in good])
    starts = [row for row in read_logs(job.progress) if row["event"] == "start"]
    proof = coverage(rows, len(job.micrographs))
    devices = [{**device, "host": row["host"], "rank": row["rank"]} for row in starts for device in row["devices"]]
    kinds = sorted({str(device.get("model", device["name"].split("#")[0])) for device in devices})
    run = results.write_run(
        {
            "state": "complete" if len(rows) == len(job.micrographs) else "partial",
            "views": makers.record(),
            "angle_step": makers.index.angle_step,
            "search_images": columns_of(makers.index),
            "notes": job.content.get("notes", []),
            "hints": [note for view in makers.views for note in view.notes],
            "devices": devices,
            "failed_devices": {},
            "mixed_devices": kinds if len(kinds) > 1 else [],
            "plan": starts[0]["plan"] if starts else {},
            "job": {
                "folder": str(job.folder),
                "distribution": job.content["distribution"],
                "attempts": max((row["attempt"] for row in starts), default=0),
                "ranks": max((row["ranks"] for row in starts), default=0),
                "coverage": proof,
            },
            "micrographs": rows,
        }
    )
    write_text(target / REPORT, "\n".join(_report(job, run, proof)) + "\n")
    return run


def coverage(rows: list[dict[str, Any]], micrographs: int) -> dict[str, Any]:
    """Return what the ranks counted: pairs of a micrograph and a rotated template, and how often each was scored.

    Parameters
    ----------
    rows : list of dict
        Lines of run.json with their `coverage`.
    micrographs : int
        Of the job.
    """
    good = [row["coverage"] for row in rows if "error" not in row]
    wanted = sum(one["search_images"] for one in good)
    return {
        "micrographs": micrographs,
        "picked": len(good),
        "failed": len(rows) - len(good),
        "pairs_expected": wanted,
        "pairs_counted": sum(one["pairs"] for one in good),
        "least": min((one["least"] for one in good), default=0),
        "most": max((one["most"] for one in good), default=0),
        "every_pair_once": bool(good) and all(one["least"] == one["most"] == 1 for one in good),
    }


def coverage_sentence(proof: dict[str, Any]) -> str:
    """Return the coverage in words."""
    if proof["every_pair_once"]:
        what = (
            f"Each of the {proof['pairs_counted']} pairs of a micrograph and a rotated template was scored exactly "
            "once, as the ranks counted"
        )
    else:
        what = (
            f"NOT every pair of a micrograph and a rotated template was scored exactly once: {proof['pairs_counted']} "
            f"were counted, {proof['pairs_expected']} expected, each {proof['least']} to {proof['most']} times"
        )
    missing = proof["micrographs"] - proof["picked"] - proof["failed"]
    rest = [f"{count} {word}" for count, word in ((proof["failed"], "failed"), (missing, "not done yet")) if count]
    return f"{what} ({counted(proof['picked'], 'micrograph')}{'; ' if rest else ''}{', '.join(rest)})."


def _copy(job: Job, records: dict[str, dict[str, Any]], target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SettingsError(f"{target} exists and is not empty; name a new folder.", target)
    for stem, record in records.items():
        for name in record.get("files", {}):
            with atomic_path(target / name) as temporary:
                try:
                    shutil.copyfile(job.results / name, temporary)
                except FileNotFoundError as error:
                    raise OutputError(
                        f"{job.results / name} is missing, although records/{stem}.json lists it; submit the job again."
                    ) from error


def _report(job: Job, run: dict[str, Any], proof: dict[str, Any]) -> list[str]:
    """Return the report: what was picked, coverage, ranks, failures."""
    good = [row for row in run["micrographs"] if "error" not in row]
    now = job_status(job.folder, ask=False)
    lines = [
        f"# Picking job {job.cluster.job_name}",
        "",
        f"{counted(sum(row['picks'] for row in good), 'pick')} on {len(good)} of {len(job.micrographs)} micrographs, "
        f"{proof['failed']} failed. By {job.content['distribution']}, {run['job']['attempts']} attempts.",
        "",
        coverage_sentence(proof),
        "",
    ]
    if run["mixed_devices"]:
        kinds = ", ".join(run["mixed_devices"])
        lines += [f"Devices of several kinds took part ({kinds}): scores agree within 2e-4.", ""]
    lines += ["| rank | host | devices | micrographs | rotated templates per second |", "|---|---|---|---|---|"]
    for rank in now.ranks:
        rate = "-" if rank.images_per_second is None else figures(rank.images_per_second)
        lines.append(f"| {rank.rank} | {rank.host} | {rank.devices} | {rank.micrographs} | {rate} |")
    failures = [row for row in run["micrographs"] if "error" in row]
    if failures:
        lines += ["", "Failed:", ""]
        lines += [f"- {row['name']}: {row['error']}" for row in failures]
    return [*lines, "", f"Files: {INDEX_FILE}, {RUN_FILE}, one STAR file for each micrograph, candidates/."]
