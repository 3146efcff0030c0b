"""New picks from the candidates of an earlier run: no correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_gempick.io.candidates import read_candidates
from napari_gempick.job.exclusion import check_exclusion, read_exclusion
from napari_gempick.job.results import Results, alone_in, format_notes, micrograph_of, read_run
from napari_gempick.job.run_file import settings_of
from napari_gempick.job.thresholds import decide, pool
from napari_gempick.model.errors import GempickError, OutputError, SettingsError
from napari_gempick.model.settings import AUTO, make_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.settings import PickSettings

RETUNABLE = (
    *("threshold", "fdr", "max_threshold", "min_distance", "local_mean", "local_sigma", "power"),
    *("border", "max_picks", "exclude", "format"),
)
"""Settings that choose picks among candidates."""


def retune(
    folder: Path,
    changes: dict[str, Any],
    said: Callable[[str], None] = lambda sentence: None,
    *,
    pooled: bool = False,
) -> dict[str, Any]:
    """Replace the picks in a folder of results by ones chosen with other settings, and return the new run.json.

    Parameters
    ----------
    folder : Path
        Output of `pick_files`.
    changes : dict
        New values of settings in RETUNABLE; the others stay as they were. None takes a setting back to its default.
    said : callable
        Receives a sentence for each micrograph that failed.
    pooled : bool
        Choose automatic thresholds once for all micrographs, from their scores together; the settings in run.json then
        hold the numbers.

    Raises
    ------
    SettingsError
        The folder holds no results, or a threshold lies below what the candidates were kept down to.
    """
    read_run(folder)
    with alone_in(folder):
        return _retune(folder, changes, said, pooled)


def _retune(folder: Path, changes: dict[str, Any], said: Callable[[str], None], pooled: bool) -> dict[str, Any]:
    """Do the work of `retune`."""
    run = read_run(folder)
    if "threshold" in changes:
        changes = {"fdr": None, **changes}
    elif changes.get("fdr") is not None:
        changes = {**changes, "threshold": (AUTO,)}
    asked = {name: value for name, value in {**run["settings"], **changes}.items() if value is not None}
    try:
        settings = make_settings(asked)
    except SettingsError:
        settings_of(folder, run)  # names run.json where its own settings are wrong
        raise
    views = tuple(view["name"] for view in run["views"])
    settings.threshold_of(views)
    check_exclusion(settings.exclude)
    results = Results(folder, settings, float(run["diameter"]))
    micrographs: list[MicrographFile] = []
    rows: list[dict[str, Any]] = []
    stored: list[Candidates | None] = []
    for row in run["micrographs"]:
        micrograph = micrograph_of(row)
        micrographs.append(micrograph)
        failed = "error" in row and not results.candidates(micrograph).exists()
        candidates = None if failed else read_candidates(results.candidates(micrograph))
        stored.append(candidates)
        if candidates is not None:
            results.check_floor(micrograph, candidates)
    if pooled:
        settings = _pooled(settings, views, results, micrographs, stored)
        results = Results(folder, settings, float(run["diameter"]))
    for row, micrograph, candidates in zip(run["micrographs"], micrographs, stored, strict=True):
        if candidates is None:
            rows.append(row)
            said(row["error"])
            continue
        kept = {name: row[name] for name in ("seconds", "notes") if name in row}
        try:
            rows.append({**results.write_picks(micrograph, candidates), **kept})
            for sentence in rows[-1]["remarks"]:
                said(sentence)
        except OutputError:
            raise
        except GempickError as error:
            rows.append({"name": row["name"], "path": row["path"], "error": error.sentence})
            said(error.sentence)
    results.write_index(micrographs)
    same = {name: value for name, value in run.items() if name not in ("program", "settings", "diameter", "frame")}
    changed = results.write_run({**same, "micrographs": rows})
    for sentence in format_notes(changed):
        said(sentence)
    return changed


def _pooled(
    settings: PickSettings,
    views: tuple[str, ...],
    results: Results,
    micrographs: list[MicrographFile],
    stored: list[Candidates | None],
) -> PickSettings:
    """Return the settings with the thresholds that the scores of all micrographs together choose."""
    parts = []
    for micrograph, candidates in zip(micrographs, stored, strict=True):
        if candidates is not None:
            excluded = read_exclusion(settings.exclude, results.folder, micrograph, candidates.file_shape)
            scores = results.scores(candidates, excluded)
            if scores is not None:
                parts.append(scores)
    chosen = decide(settings, views, pool(parts) if parts else None)
    texts = tuple(f"{name}={min(1.0, value):.6g}" for name, value in zip(views, chosen, strict=True))
    return make_settings({**settings.model_dump(), "threshold": texts, "fdr": None})
