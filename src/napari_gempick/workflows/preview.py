"""A quick look: a coarse search of the whole micrograph, then the exact score around every candidate.

The coarse search takes a coarser grid and every few angles. Around each of its candidates the real grid and the angles
between are searched exactly. It can only miss particles that the coarse search does not see at all.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.cores import usable_cores
from napari_gempick.device.discover import open_devices
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.pose import PoseRefiner
from napari_gempick.engine.matching.read_ahead import made_ready
from napari_gempick.engine.matching.refine import Refined, leaders, refine
from napari_gempick.engine.matching.workers import DevicePool
from napari_gempick.engine.picking.exclusion import find_exclusion
from napari_gempick.engine.picking.peaks import find_candidates, select, suppress, with_local
from napari_gempick.evaluation.matching import Particles, Rules, match
from napari_gempick.inputs.bank_maker import BankMaker, source_of
from napari_gempick.inputs.preparation import check_exclusion, find_edited, read_exclusion
from napari_gempick.inputs.views import read_image, read_views
from napari_gempick.io.listing import MicrographFile
from napari_gempick.model.errors import Cancelled
from napari_gempick.model.geometry import Grid
from napari_gempick.model.picks import Picks
from napari_gempick.model.settings import LEAST_STEP
from napari_gempick.model.values import AUTO
from napari_gempick.results.thresholds import candidate_floor, decide, scores_of, selection_for
from napari_gempick.workflows.arrays import picked, repick

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_gempick.engine.matching.pipeline import Outcome
    from napari_gempick.engine.matching.search import ShapeChooser
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.inputs.views import View
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.score_maps import BankIndex, ScoreMap
    from napari_gempick.model.settings import PickSettings

CELLS = 24
"""Coarse map pixels along a particle's diameter."""
COARSE_STEP = 12.0
"""Degrees; a particle's rim moves by about two coarse map pixels between coarse angles."""
SLACK = 0.05
"""How far below its threshold the coarse score of a candidate may lie and still be scored exactly."""
LEADERS = 4
"""Angles and templates around which each candidate is scored exactly: those that lead on every other pixel."""
BEHIND = 0.15
"""How far behind the first of them the others may be: they are compared at coarse angles, where scores differ more."""
RIVALS = 400
"""Up to this many rotated templates of the coarse search, all compete for a candidate; else those of its template."""
MOST = 600
"""How many candidates are scored exactly, the best first."""


@dataclass(frozen=True, eq=False)
class Preview:
    """What a quick look has found so far.

    Attributes
    ----------
    picks : Picks
        Best first, with exact scores, of the candidates refined so far.
    scores : ScoreMap
        Of the coarse search.
    refined, candidates : int
        How many of the coarse search's candidates are refined.
    seconds : float
        Since the start.
    notes : tuple of str
        Sentences about the micrograph.
    """

    picks: Picks
    scores: ScoreMap
    refined: int
    candidates: int
    seconds: float
    notes: tuple[str, ...] = ()


def preview(
    image: NDArray[np.float32],
    grid: Grid,
    settings: PickSettings,
    views: list[View],
    pool: DevicePool,
    *,
    tile_shape: ShapeChooser | None = None,
    ctf: Ctf | None = None,
    excluded: NDArray[np.bool_] | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[Preview]:
    """Pick a micrograph quickly; yield the picks several times, more of them refined each time.

    Parameters
    ----------
    image : (ny, nx) float32
    grid : Grid
        The one that the exact search would take (inputs.views.choose_grid).
    settings : PickSettings
        Automatic thresholds are chosen from the coarse search.
    pool, tile_shape, cancel
        See engine.matching.pipeline.search_all.
    excluded : (ny, nx) bool, optional

    Raises
    ------
    GempickError
        As the search.
    """
    started = time.monotonic()
    fine = BankMaker(settings, views, cancel)
    source, prepared = made_ready(source_of(image, grid, settings, fine, ctf))
    grid = source.grid
    coarse_settings, coarse_grid = coarser(settings, grid, fine.diameter, fine.index.angle_step)
    coarse = BankMaker(coarse_settings, views, cancel)
    (outcome,) = search_all(
        [lambda: source_of(image, coarse_grid, coarse_settings, coarse, ctf)],
        pool,
        tile_shape=tile_shape,
        decoys=settings.decoys,
        cancel=cancel,
    )
    if outcome.error is not None:
        raise outcome.error
    assert outcome.scores is not None
    near, thresholds = _candidates_of(outcome, settings, fine, grid, excluded)
    inside = slice(prepared.margin, -prepared.margin or None)
    searched = prepared.image[inside, inside] if settings.local_limits() else None
    bank = source.bank()
    poses = PoseRefiner(prepared, bank)
    refinement = _Refinement(prepared, bank, fine, coarse, outcome.scores.grid, grid)

    def one(i: int) -> Refined | None:
        stopped = cancel is not None and cancel.is_set()
        return None if stopped else refinement.best(near.x[i], near.y[i], int(near.k[i]))

    chosen = replace(
        selection_for(settings, fine.index.view_names, fine.diameter, grid.pixel_size, grid.map_pixel_size),
        thresholds=thresholds,
    )
    done: list[Refined] = []
    with ThreadPoolExecutor(settings.threads or usable_cores()) as threads:
        waiting = list(range(len(near)))
        while True:
            refined = _picks(done, fine, grid)
            if searched is not None:
                (refined,) = with_local(searched, fine.diameter / grid.map_pixel_size, refined)
            if source.refine:
                refined = poses(refined, np.ones(len(refined), bool))
            picks = select(refined, chosen, grid.file_shape, excluded)
            looked_at = len(near) - len(waiting)
            yield Preview(picks, outcome.scores, looked_at, len(near), time.monotonic() - started, source.notes)
            if not waiting:
                return
            batch, waiting = waiting[: max(16, len(near) // 4)], waiting[max(16, len(near) // 4) :]
            done += [item for item in threads.map(one, batch) if item is not None]
            if cancel is not None and cancel.is_set():
                raise Cancelled("Stopped.")


def _candidates_of(
    outcome: Outcome, settings: PickSettings, fine: BankMaker, grid: Grid, excluded: NDArray[np.bool_] | None
) -> tuple[Picks, list[float]]:
    """Return the candidates of the coarse search that are worth an exact score, and the thresholds of the views.

    Automatic thresholds come from the coarse search, whose scores are higher; they then do not count any more (-1).
    """
    assert outcome.scores is not None and outcome.image is not None
    coarse_grid, names = outcome.scores.grid, fine.index.view_names
    floor = candidate_floor(settings, names)
    found, *rest = with_local(
        outcome.image,
        fine.diameter / coarse_grid.map_pixel_size,
        find_candidates(outcome.scores, floor - SLACK),
        *([] if outcome.decoys is None else [find_candidates(outcome.decoys, floor)]),
    )
    selection = selection_for(settings, names, fine.diameter, grid.pixel_size, coarse_grid.map_pixel_size)
    known = None
    for decoys in rest:
        known = scores_of(found, decoys, selection, floor, grid.file_shape, excluded).rates()
    thresholds = np.array(decide(settings, names, known))
    automatic = np.array([value is None for value in settings.thresholds.of(names)])
    near = found.take(found.score >= (thresholds - np.where(automatic, 0, SLACK))[found.view])
    near = near.take(suppress(near.map_y, near.map_x, 0.9 * selection.min_distance)[:MOST])
    thresholds[automatic] = -1
    return near, thresholds.tolist()


class _Refinement:
    """Finds the best exact score around a candidate of the coarse search.

    Parameters
    ----------
    fine, coarse : BankMaker
        Of the exact and of the coarse search.
    coarse_grid, grid : Grid
        Those that they search.
    """

    def __init__(
        self, prepared: Prepared, bank: Bank, fine: BankMaker, coarse: BankMaker, coarse_grid: Grid, grid: Grid
    ) -> None:
        self._prepared, self._bank, self._ratio = prepared, bank, float(grid.ratio)
        self._reach = math.ceil(0.75 * float(coarse_grid.ratio / grid.ratio)) + 1
        self._around = angles_around(fine, coarse.index)
        self._about = angles_around(fine, fine.index, coarse.index.angle_step)
        self._widely = angles_around(fine, fine.index, 2 * coarse.index.angle_step)
        self._everywhere = _rivals(fine, coarse)

    def best(self, x: float, y: float, k: int) -> Refined | None:
        """Return the best of the rotated templates that lead at a position (px of the file); `k` of the coarse search.

        None where none is scored.
        """
        centre = round(y / self._ratio), round(x / self._ratio)
        ks = sorted({*self._around(k)[::2], *self._everywhere(k)})
        ahead = leaders(self._prepared, self._bank, centre, self._reach, ks)
        found: list[Refined] = []
        for score, row, column, leader in ahead:
            if len(found) == LEADERS or score < ahead[0][0] - BEHIND:
                break
            beside = self._widely(leader)
            if any(one.k in beside for one in found):
                continue
            better = refine(self._prepared, self._bank, (row, column), 2, self._about(leader))
            found += [] if better is None else [better]
        return max(found, key=lambda one: (one.score, -one.k), default=None)


def preview_file(
    path: Path,
    settings: PickSettings,
    *,
    listed: float | None = None,
    compare: bool = False,
    cancel: threading.Event | None = None,
    shown: Callable[[Preview], None] = lambda stage: None,
) -> dict[str, Any]:
    """Take a quick look at a micrograph's file; return what it found as plain values.

    Parameters
    ----------
    listed : float, optional
        Pixel size in Å, of the STAR file that lists the micrograph.
    compare : bool
        Run the exact search too, and say how far both agree.
    shown : callable
        Gets every stage.
    """
    views = read_views(settings)
    plans = PlanStore()
    pool = DevicePool(open_devices(settings.devices, settings.threads, plans))
    image, grid, notes, _ = read_image(path, settings, listed)
    fine = BankMaker(settings, views)
    ctf = fine.preparation.ctf_of(path)
    check_exclusion(settings)
    name = MicrographFile(path, PurePosixPath(path.name))
    if settings.exclude == AUTO and find_edited(settings, path.parent, name) is None:
        source = source_of(image, grid, settings, fine, ctf)
        excluded: NDArray[np.bool_] | None = find_exclusion(
            source.image, fine.diameter / grid.pixel_size, source.replaced
        )
    else:
        excluded = read_exclusion(settings, path.parent, name, grid.file_shape)
    stage: Preview | None = None
    first = 0.0
    looks = preview(
        image, grid, settings, views, pool, tile_shape=plans.tile_shape, ctf=ctf, excluded=excluded, cancel=cancel
    )
    for stage in looks:
        first = first or stage.seconds
        shown(stage)
    assert stage is not None
    result: dict[str, Any] = {
        "micrograph": str(path),
        "notes": [*(note for view in views for note in view.notes), *notes, *stage.notes],
        "picks": len(stage.picks),
        "candidates": stage.candidates,
        "coarse_seconds": round(first, 3),
        "seconds": round(stage.seconds, 3),
    }
    if compare:
        (outcome,) = search_all(
            [lambda: source_of(image, grid, settings, fine, ctf)],
            pool,
            tile_shape=plans.tile_shape,
            decoys=settings.decoys,
            cancel=cancel,
        )
        exact = repick(picked(outcome, settings, fine.diameter), settings, excluded=excluded).picks
        found = agreement(stage.picks, exact, 0.1 * fine.diameter / grid.pixel_size)
        result |= {"exact_seconds": round(outcome.seconds, 3), **found}
    return result


def coarser(settings: PickSettings, grid: Grid, diameter: float, step: float) -> tuple[PickSettings, Grid]:
    """Return the settings and the grid of the coarse search; `diameter` in Å, `step` of the exact one in degrees."""
    ratio = max(grid.ratio, Fraction(math.floor(diameter / CELLS / grid.pixel_size)))
    times = max(1, math.floor(COARSE_STEP / step)) if step > 0 else 1
    changed = {"grid": str(ratio), "angle_step": step * times}
    return settings.model_copy(update=changed), Grid(grid.file_shape, grid.pixel_size, ratio)


def _rivals(fine: BankMaker, coarse: BankMaker) -> Callable[[int], list[int]]:
    """Return what gives the rotated templates at the coarse angles, of every template or of that of a coarse one's."""
    times = round(coarse.index.angle_step / fine.index.angle_step) if fine.index.angle_step else 1
    rotations, searched = fine.index.n_rotations, fine.index.searched()
    every = [k for k in range(0, len(fine.index)) if k % rotations % times == 0 and searched[k]]

    def of(k: int) -> list[int]:
        section = k // coarse.index.n_rotations
        return every if len(every) <= RIVALS else [k for k in every if k // rotations == section]

    return of


def angles_around(fine: BankMaker, other: BankIndex, reach: float | None = None) -> Callable[[int], list[int]]:
    """Return what gives the rotated templates of the exact search about one of another index, within `reach` degrees.

    By default its step: the angles between.
    """
    reach = other.angle_step if reach is None else reach
    angles = np.arange(fine.index.n_rotations) * fine.index.angle_step
    searched = fine.index.searched().reshape(-1, len(angles))
    views = fine.index.view(np.arange(len(fine.index), dtype=np.int32)).reshape(searched.shape)[:, 0]

    def around(k: int) -> list[int]:
        section, rotation = divmod(k, other.n_rotations)
        away = np.abs(angles - rotation * other.angle_step)
        if fine.index.angle_range == 360:  # the last angle lies beside the first
            period = 360 / fine.index.folds[views[section]]
            away %= period
            away = np.minimum(away, period - away)
        near = (away < max(reach, LEAST_STEP) - 1e-6) & searched[section]
        return (section * len(angles) + np.nonzero(near)[0]).tolist()

    return around


def _picks(done: Sequence[Refined], fine: BankMaker, grid: Grid) -> Picks:
    """Return the refined candidates, best first; of two at one position the better one."""
    unique = {(item.map_y, item.map_x): item for item in sorted(done, key=lambda item: item.score)}
    ordered = sorted(unique.values(), key=lambda item: (-item.score, item.map_y, item.map_x))
    if not ordered:
        return Picks.empty()
    k = np.array([item.k for item in ordered], np.int32)
    ratio = float(grid.ratio)
    return Picks(
        x=np.array([item.x for item in ordered]) * ratio,
        y=np.array([item.y for item in ordered]) * ratio,
        map_x=np.array([item.map_x for item in ordered], np.int32),
        map_y=np.array([item.map_y for item in ordered], np.int32),
        score=np.array([item.score for item in ordered], np.float32),
        k=k,
        view=fine.index.view(k),
        section=fine.index.section(k),
        psi=fine.index.psi(k),
    )


def agreement(quick: Picks, exact: Picks, distance: float) -> dict[str, Any]:
    """Compare the picks of a quick look with the exact ones; `distance` in pixels of the file.

    Returns
    -------
    dict
        quick, exact and both: how many picks of each, and how many lie together (one to one, the most pairs);
        largest_score_difference among the latter.
    """
    one, other = (Particles.at(picks.x, picks.y, score=picks.score) for picks in (quick, exact))
    partner = match(one, other, Rules(distance)).partner
    apart = np.abs(one.score[partner >= 0] - other.score[partner[partner >= 0]])
    counts = {"quick": len(quick), "exact": len(exact), "both": len(apart)}
    return {**counts, "largest_score_difference": float(apart.max(initial=0.0))}
