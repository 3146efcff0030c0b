"""What leaves the window: the picks that are seen, micrograph by micrograph. No Qt."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_gempick.engine.picking.run_evidence import RunEvidence
from napari_gempick.inputs.preparation import EDITED, edited_mask, find_edited
from napari_gempick.io.atomic import write_bytes
from napari_gempick.model.errors import GempickError, InputError
from napari_gempick.model.geometry import box_over_diameter
from napari_gempick.model.settings import LEARNED
from napari_gempick.results.thresholds import probability_false
from napari_gempick.widgets.state.state import Edits
from napari_gempick.widgets.state.teaching import searched
from napari_gempick.workflows.export import Chosen, export_picks, planned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.engine.picking.run_evidence import Scores
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.loading import CandidateCache
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.state import State

__all__ = ["chosen_picks", "export_picks", "planned"]

SHARED = "excluded_shared"
"""Below the results folder: edited masks of the session and of the folder that the settings name, for a command."""


def chosen_picks(
    state: State,
    results: Mapping[str, Result],
    folder: Path,
    files: Sequence[MicrographFile],
    selections: CandidateCache,
) -> tuple[list[Chosen], list[str]]:
    """Return the picks of every micrograph that was searched, and a sentence for each that cannot be exported.

    Raises
    ------
    InputError
        There are none.
    """
    found = list(picks_by_micrograph(state, results, folder, files, selections))
    chosen = [one for one in found if not isinstance(one, str)]
    problems = [one for one in found if isinstance(one, str)]
    if not chosen:
        raise InputError(problems[0] if problems else "No micrograph has picks yet; run a search first.")
    return chosen, problems


def picks_by_micrograph(
    state: State,
    results: Mapping[str, Result],
    folder: Path,
    files: Sequence[MicrographFile],
    selections: CandidateCache,
) -> Iterator[Chosen | str]:
    """Yield the picks of every micrograph that was searched, or why they cannot be had."""
    false = Judge(state, results, folder, selections) if state.settings().score == LEARNED else None
    for file in files:
        stem = file.output_stem
        result = results.get(stem)
        if result is None or result.error or stem in state.rejected:
            continue
        try:
            selection = selections.get(file, state, folder, results)
        except GempickError as error:
            yield error.sentence
            continue
        assert selection is not None
        candidates = selection.candidates
        picks = selection.result(selection.choose(state.tune_of(stem), state.edits.get(stem, Edits())))
        if false is not None:
            picks = replace(picks, false=false.of(stem, picks))
        box = box_over_diameter(selection.diameter, candidates.pixel_size)
        yield Chosen(file, picks, candidates.view_names, candidates.file_shape, candidates.pixel_size, box)


def shared_settings(controller: Controller, **more: Any) -> PickSettings:
    """Return the settings for a command or a job elsewhere: they name the folder of the edited masks too.

    Raises
    ------
    GempickError
        They contradict each other, or a mask cannot be written.
    """
    state, folder = controller.state, None if controller.folder is None else controller.folder.path
    if folder is None:
        return state.settings(**more)
    controller.masks.write()
    settings = state.settings()
    if settings.exclude_edited is not None:  # only one folder can be named, so both come together in a third
        shared = folder / SHARED
        shutil.rmtree(shared, ignore_errors=True)
        for file in state.files:
            known = find_edited(settings, folder, file)
            if known is not None:
                write_bytes(edited_mask(shared, file), known.read_bytes())
        more["exclude_edited"] = str(shared / EDITED)
        (shared / EDITED).mkdir(parents=True, exist_ok=True)
    elif any((folder / EDITED).rglob("*.mrc.gz")):
        more["exclude_edited"] = str(folder / EDITED)
    return state.settings(**more)


class Judge:
    """Estimates how probably picks are false, with the evidence of all micrographs searched for the same views."""

    def __init__(self, state: State, results: Mapping[str, Result], folder: Path, selections: CandidateCache) -> None:
        found: dict[tuple[str, ...], dict[str, Scores]] = {}
        for file in searched(state, results):
            try:
                selection = selections.get(file, state, folder, results)
            except InputError:  # reported for those whose picks are wanted
                continue
            scores = None if selection is None else selection.scores(state.tune_of(file.output_stem))
            if scores is not None and selection is not None:
                found.setdefault(selection.candidates.view_names, {})[file.output_stem] = scores
        self._rates: dict[str, list[FalseRate]] = {}
        for parts in found.values():
            evidence = RunEvidence(list(parts.values()))
            self._rates |= {stem: evidence.rates(number) for number, stem in enumerate(parts)}

    def of(self, stem: str, picks: Picks) -> NDArray[np.float32]:
        """Return the probability that each pick of a micrograph is false, (n,) float32; NaN without a score."""
        return probability_false(picks, self._rates[stem])
