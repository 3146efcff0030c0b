"""The results of a cluster job as a session, while it runs or after. No Qt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_gempick.job.cluster import collect_job
from napari_gempick.job.run_rows import micrograph_of
from napari_gempick.widgets.loading import results_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_gempick.widgets.controller import Controller


def open_results(controller: Controller, folder: Path) -> None:
    """Open what a job has done so far; called again, it adds what was done since and keeps every correction."""
    controller.background.do(lambda: collect_job(folder), lambda run: _show(controller, folder / "results", run))


def _show(controller: Controller, results: Path, run: dict[str, Any]) -> None:
    open_already = controller.folder is not None and controller.folder.path == results
    if not open_already and not controller.open_folder(results):
        return
    found = results_of(run)
    new = {stem: one for stem, one in found.items() if stem not in controller.results or controller.results[stem].error}
    state = controller.state
    files = {file.output_stem: file for file in state.files}
    files |= {row["name"]: micrograph_of(row) for row in run["micrographs"] if row["name"] not in files}
    order = {stem: place for place, stem in enumerate(found)}
    ordered = tuple(files[stem] for stem in sorted(files, key=lambda stem: order.get(stem, len(order))))
    if ordered != state.files:
        controller.do("results of the job", replace(state, files=ordered))
    for stem, one in new.items():
        controller.set_result(stem, one)
    failed = sum("error" in row for row in run["micrographs"])
    done = len(run["micrographs"]) - failed
    rest = f", {failed} failed" if failed else ""
    more = "" if run["state"] == "complete" else "; open them again for those that come"
    controller.said.emit(f"Results of {done} micrographs of the job{rest}{more}.", "info")
