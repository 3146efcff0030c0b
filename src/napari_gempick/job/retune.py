"""New picks from the candidates of an earlier run: no correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_gempick.io.candidates import read_candidates
from napari_gempick.job.results import Results, micrograph_of, read_run
from napari_gempick.model.errors import GempickError, OutputError, SettingsError
from napari_gempick.model.settings import make_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile

RETUNABLE = ("threshold", "max_threshold", "min_distance", "border", "max_picks", "exclude", "format")
"""Settings that choose picks among candidates."""


def retune(
    folder: Path, changes: dict[str, Any], said: Callable[[str], None] = lambda sentence: None
) -> dict[str, Any]:
    """Replace the picks in a folder of results by ones chosen with other settings, and return the new run.json.

    Parameters
    ----------
    folder : Path
        Output of `pick_files`.
    changes : dict
        New values of settings in RETUNABLE; the others stay as they were.
    said : callable
        Receives a sentence for each micrograph that failed.

    Raises
    ------
    SettingsError
        The folder holds no results, or a threshold lies below what the candidates were kept down to.
    """
    run = read_run(folder)
    settings = make_settings({**run["settings"], **changes})
    views = tuple(view["name"] for view in run["views"])
    thresholds = settings.threshold_of(views)
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
        if candidates is not None and min(thresholds) < candidates.floor:
            raise SettingsError(
                f"{results.candidates(micrograph)} holds candidates down to {candidates.floor:g} only; give a higher "
                f"threshold, or pick again with --candidate-floor {min(thresholds):g}.",
                results.candidates(micrograph),
            )
    for row, micrograph, candidates in zip(run["micrographs"], micrographs, stored, strict=True):
        if candidates is None:
            rows.append(row)
            said(row["error"])
            continue
        kept = {name: row[name] for name in ("seconds", "notes") if name in row}
        try:
            rows.append({**results.write_picks(micrograph, candidates), **kept})
        except OutputError:
            raise
        except GempickError as error:
            rows.append({"name": row["name"], "path": row["path"], "error": error.sentence})
            said(error.sentence)
    results.write_index(micrographs)
    same = {name: value for name, value in run.items() if name not in ("program", "settings", "diameter")}
    return results.write_run({**same, "micrographs": rows})
