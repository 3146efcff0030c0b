"""New picks from the candidates of an earlier run: no correlation."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick.engine.picking.run_evidence import pool
from napari_gempick.inputs.preparation import check_exclusion
from napari_gempick.io.candidates import read_candidates
from napari_gempick.model.errors import GempickError, OutputError, SettingsError
from napari_gempick.model.settings import make_settings
from napari_gempick.model.values import AUTO, LEARNED, named_texts
from napari_gempick.results.folder import CHOSEN, POOLED, Results
from napari_gempick.results.learned_score import learn, read_labels
from napari_gempick.results.log_file import log_facts, logged, logged_in
from napari_gempick.results.run_file import micrograph_of, read_run, run_notes, settings_of
from napari_gempick.results.thresholds import decide, is_automatic, refuse_pooling
from napari_gempick.results.whole_run import KEPT, alone_in, choose_by_run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.settings import PickSettings

LOG = logging.getLogger(__name__)


def retune(
    folder: Path | str,
    changes: dict[str, Any],
    notify: Callable[[str], None] = lambda sentence: None,
    *,
    pooled: bool = False,
    teach: Sequence[Path | str] = (),
) -> dict[str, Any]:
    """Replace the picks in a folder of results by ones chosen with other settings, and return the new run.json.

    Parameters
    ----------
    folder : Path or str
        Output of `pick_files`.
    changes : dict
        New values of settings in model.settings.RETUNABLE; the others stay as they were. None takes a setting back to
        its default.
    notify : callable
        Receives a sentence for each micrograph that failed.
    pooled : bool
        Choose automatic thresholds once for all micrographs, from their scores together; the settings in run.json then
        hold the numbers.
    teach : sequence of Path or str
        Labels for the learned score, see results.learned_score.read_labels.

    Raises
    ------
    SettingsError
        The folder holds no results, a threshold lies below what the candidates were kept down to, `pooled` without an
        automatic threshold, or labels are given and the score is not the learned one.

    Examples
    --------
    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, diameter=385, angle_step=0, threshold=0.3)
    >>> first = gp.pick_files(settings, "micrograph_002.mrc", "tops")
    >>> again = gp.retune("tops", {"threshold": 0.8})
    >>> first["micrographs"][0]["picks"] > again["micrographs"][0]["picks"]
    True
    """
    folder = Path(folder)
    read_run(folder)
    with alone_in(folder), logged_in(folder, "retune"):
        return _retune(folder, changes, logged(notify, LOG), pooled, [Path(one) for one in teach])


def _retune(
    folder: Path, changes: dict[str, Any], notify: Callable[[str], None], pooled: bool, teach: Sequence[Path]
) -> dict[str, Any]:
    """Do the work of `retune`."""
    run = read_run(folder)
    if "threshold" in changes:
        changes = {"fdr": None, **changes}
    elif changes.get("fdr") is not None:
        changes = {**changes, "threshold": (AUTO,)}
    log_facts(changes={name: str(value) for name, value in changes.items()})
    settings = _changed(folder, run, changes)
    views = tuple(view["name"] for view in run["views"])
    settings.thresholds.of(views)
    if pooled:
        refuse_pooling(settings)
    check_exclusion(settings)
    results = Results(folder, settings, float(run["diameter"]))
    micrographs = [micrograph_of(row) for row in run["micrographs"]]
    rows = {micrograph.output_stem: row for micrograph, row in zip(micrographs, run["micrographs"], strict=True)}
    stored = _read(results, micrographs, rows, notify)
    if settings.score == LEARNED:
        results.learned, stored = _learn(results, micrographs, stored, teach)
    elif teach:
        raise SettingsError("--teach needs --score learned.")
    if not teach and run.get("learned", {}).get("labels"):
        notify("The labels of the earlier retune are not used; give --teach again to use them.")
    wanted = settings
    if pooled and stored:
        learned, settings = results.learned, _pooled(settings, views, results, micrographs, stored)
        results = Results(folder, settings, float(run["diameter"]))
        results.learned = learned
    if settings.score == LEARNED or is_automatic(settings, views):
        choose_by_run(results, settings, views, micrographs, rows, notify, stored=stored)
    else:
        for micrograph in micrographs:
            if micrograph.output_stem in stored:
                rows[micrograph.output_stem] = _picked(results, micrograph, stored, rows, notify)
    results.write_index(micrographs)
    renewed = ("program", "settings", "diameter", "frame", "learned", POOLED)
    same = {name: value for name, value in run.items() if name not in renewed}
    if pooled:
        same[POOLED] = {name: value for name, value in json.loads(wanted.model_dump_json()).items() if name in CHOSEN}
    changed = results.write_run({**same, "micrographs": [rows[one.output_stem] for one in micrographs]})
    for sentence in run_notes(changed):
        notify(sentence)
    return changed


def _changed(folder: Path, run: dict[str, Any], changes: dict[str, Any]) -> PickSettings:
    """Return the settings of a run with changes; None stands for the default."""
    try:
        return make_settings({name: to for name, to in {**run["settings"], **changes}.items() if to is not None})
    except SettingsError:
        settings_of(folder, run)  # names run.json where its own settings are wrong
        raise


def _read(
    results: Results,
    micrographs: list[MicrographFile],
    rows: dict[str, dict[str, Any]],
    notify: Callable[[str], None],
) -> dict[str, Candidates]:
    """Return the candidates of each micrograph that has some; its line in `rows` keeps only what the search knows."""
    stored: dict[str, Candidates] = {}
    for micrograph in micrographs:
        name = micrograph.output_stem
        row, path = rows[name], results.candidates(micrograph)
        if "error" in row and not path.exists():
            notify(row["error"])
            continue
        stored[name] = read_candidates(path)
        results.check_floor(micrograph, stored[name])
        rows[name] = {key: row[key] for key in ("name", "path", *KEPT) if key in row}
    return stored


def _learn(
    results: Results, micrographs: list[MicrographFile], stored: dict[str, Candidates], teach: Sequence[Path]
) -> tuple[dict[str, Any], dict[str, Candidates]]:
    """Return what run.json says about the learned score, and the candidates with it."""
    done = sorted((one for one in micrographs if one.output_stem in stored), key=lambda one: one.output_stem)
    shapes = {stem: candidates.file_shape for stem, candidates in stored.items()}
    distances = {stem: results.distance(candidates) for stem, candidates in stored.items()}
    labels = read_labels(teach, done, results.coordinates, shapes, distances) if teach else None
    learned = learn(results, done, lambda one: stored[one.output_stem], labels)
    scored = {one.output_stem: learned.apply(one, stored[one.output_stem], results.diameter) for one in done}
    return learned.describe(), scored


def _picked(
    results: Results,
    micrograph: MicrographFile,
    stored: dict[str, Candidates],
    rows: dict[str, dict[str, Any]],
    notify: Callable[[str], None],
) -> dict[str, Any]:
    """Write the picks of one micrograph by thresholds that were given; return its line of run.json."""
    name = micrograph.output_stem
    try:
        row = {**results.write_picks(micrograph, stored[name], leave=rows[name].get("wrong", ())), **rows[name]}
    except OutputError:
        raise
    except GempickError as error:
        notify(error.sentence)
        return {"name": rows[name]["name"], "path": rows[name]["path"], "error": error.sentence}
    for sentence in row["remarks"]:
        notify(sentence)
    return row


def _pooled(
    settings: PickSettings,
    views: tuple[str, ...],
    results: Results,
    micrographs: list[MicrographFile],
    stored: dict[str, Candidates],
) -> PickSettings:
    """Return the settings with the thresholds that the scores of all micrographs together choose."""
    parts = [results.evidence(one, lambda m: stored[m.output_stem]) for one in micrographs if one.output_stem in stored]
    chosen = decide(settings, views, pool(parts).rates() if parts else None)
    most = {name: min(1.0, value) for name, value in zip(views, chosen, strict=True)}
    return make_settings({**settings.model_dump(), "threshold": named_texts(most, ".6g"), "fdr": None})
