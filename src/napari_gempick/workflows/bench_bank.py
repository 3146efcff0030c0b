"""Measure the search by a basis against the full one, on the bank of a real map."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.device.discover import open_devices
from napari_gempick.device.fft import full_size_inverse
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.matching.choice import FULL, Wanted, make_search
from napari_gempick.engine.matching.compressed import CompressedSearch
from napari_gempick.engine.matching.read_ahead import made_ready
from napari_gempick.engine.matching.search import SHARED_FROM
from napari_gempick.engine.matching.workers import DevicePool, run_search
from napari_gempick.engine.picking.peaks import find_candidates
from napari_gempick.inputs.bank_maker import BankMaker, source_of
from napari_gempick.inputs.views import choose_grid, read_image, read_views
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.settings import make_settings
from napari_gempick.workflows.bench import peak_memory_mib
from napari_gempick.workflows.templates import project_files

if TYPE_CHECKING:
    from napari_gempick.engine.matching.search import Search
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.model.geometry import Grid
    from napari_gempick.model.score_maps import ScoreMap

FLOOR = 0.1
"""Candidates are compared down to this score."""
ROUNDS = 2
"""Of both searches in turn; the fastest of each counts."""


def measure_bank(
    path: Path,
    *,
    symmetry: str = "C1",
    views: int | None = None,
    angle_step: float = 4.0,
    lowpass: float | None = 20.0,
    micrograph: Path | None = None,
    micrograph_size: int = 4096,
    pixel_size: float | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Search a micrograph with the projections of a map, in full and by a basis, in turn; decoys are kept.

    Parameters
    ----------
    path : Path
        The map; projected over its asymmetric unit, under one circle.
    views : int, optional
        Number of projections; default every 15 degrees.
    symmetry, angle_step, lowpass
        As in gempick templates project and gempick pick.
    micrograph : Path, optional
        Default: white noise of `micrograph_size`² pixels of the map's pixel size.
    pixel_size : float, optional
        Å; of the micrograph.
    threads : int

    Raises
    ------
    GempickError
        The map or the micrograph cannot be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        templates = Path(folder) / "bank.mrcs"
        made = project_files(
            path, templates, symmetry=symmetry, views=views, lowpass=lowpass, invert=True, mask="circular"
        )
        settings = make_settings(
            {
                "templates": (str(templates),),
                "mask": (made["masks"],),
                "angle_step": angle_step,
                "lowpass": lowpass,
                "pixel_size": pixel_size or (None if micrograph else made["pixel_size"]),
            }
        )
        makers = BankMaker(settings, read_views(settings))
    if micrograph is None:
        noise = np.random.default_rng(1).standard_normal((micrograph_size, micrograph_size)).astype(np.float32)
        image, grid = noise, choose_grid(settings, noise.shape, made["pixel_size"])
    else:
        image, grid, *_ = read_image(micrograph, settings)
    source, prepared = made_ready(source_of(image, grid, settings, makers))
    return _compared(prepared, source.bank(), source.grid, threads)


def _compared(prepared: Prepared, bank: Bank, grid: Grid, threads: int) -> dict[str, Any]:
    """Search in full and by a basis, in turn; return the times and how the results compare."""
    plans = PlanStore()
    pool = DevicePool(open_devices("cpu", threads, plans))
    searches: dict[str, Search] = {}
    seconds: dict[str, list[float]] = {"full": [], "compressed": []}
    maps: dict[str, tuple[ScoreMap, ...]] = {}
    plain = [full_size_inverse(max(grid.shape), plans)]
    started = time.perf_counter()
    for wanted in (Wanted("compressed", FLOOR, maps=False), FULL) * (1 + ROUNDS):  # the first round makes plans
        search = make_search(wanted, prepared, bank, pool, plans.tile_shape, decoys=True)
        if not searches:
            basis = time.perf_counter() - started
        started = time.perf_counter()
        maps[wanted.kind] = run_search(search, pool)
        seconds[wanted.kind].append(time.perf_counter() - started)
        searches[wanted.kind] = search
    plain.append(full_size_inverse(max(grid.shape), plans))
    compressed = searches["compressed"]
    if not isinstance(compressed, CompressedSearch):
        raise SettingsError(
            f"No mask is shared by {SHARED_FROM} rotated templates, as a basis needs; give a smaller "
            "--angle-step, or a map whose box holds the circle around the particle."
        )
    automatic = make_search(Wanted("auto", maps=False), prepared, bank, pool, plans.tile_shape, decoys=True)
    count = compressed.total
    fastest = {kind: min(times[1:]) for kind, times in seconds.items()}
    plain_ms = 1e3 * sum(plain) / len(plain)
    stages = sum(compressed.seconds.values())
    return {
        "search_images": count,
        "grid": list(grid.shape),
        "threads": threads,
        "auto": type(automatic) is not type(searches["full"]),
        "rank": sum(part.rank for part in compressed.parts),
        "plain_fft_ms": plain_ms,
        "plain_fft_ms_before_after": [1e3 * one for one in plain],
        "basis_seconds": basis,
        "seconds": fastest,
        "times_as_fast": fastest["full"] / fastest["compressed"],
        "templates_per_second": {kind: count / one for kind, one in fastest.items()},
        "plain_ffts_per_template": {kind: 1e3 * one * threads / count / plain_ms for kind, one in fastest.items()},
        "exact_scores": compressed.exact,
        "share_of_scores": compressed.exact / (2 * grid.shape[0] * grid.shape[1]),
        "map_bound": compressed.bound,
        "stages": {name: one / stages for name, one in compressed.seconds.items()},
        "peak_memory_mib": peak_memory_mib(),
        **_agreement(maps["full"], maps["compressed"]),
    }


def _agreement(full: tuple[ScoreMap, ...], compressed: tuple[ScoreMap, ...]) -> dict[str, Any]:
    """Return how the candidates and decoys of both searches compare."""
    counts, missing, other, worst = 0, 0, 0, 0.0
    for one, two in zip(full, compressed, strict=True):
        a, b = (find_candidates(maps, FLOOR) for maps in (one, two))
        of = {(y, x): i for i, (y, x) in enumerate(zip(a.map_y.tolist(), a.map_x.tolist(), strict=True))}
        both = [(of[at], j) for j, at in enumerate(zip(b.map_y.tolist(), b.map_x.tolist(), strict=True)) if at in of]
        i, j = np.array(both, int).reshape(-1, 2).T
        counts += len(a)
        missing += len(a) + len(b) - 2 * len(both)
        other += int((a.k[i] != b.k[j]).sum())
        worst = max(worst, float(np.abs(a.score[i] - b.score[j]).max(initial=0)))
    return {
        "candidates": counts,
        "candidates_of_one_only": missing,
        "other_search_images": other,
        "largest_score_difference": worst,
    }
