"""Picking on arrays, for notebooks: the same steps as the command line, without files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.device.discover import open_devices
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.matching.choice import Wanted
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.workers import DevicePool
from napari_gempick.engine.picking.exclusion import find_exclusion
from napari_gempick.engine.picking.peaks import find_peaks, select
from napari_gempick.inputs.bank_maker import BankMaker, source_of
from napari_gempick.inputs.views import View, choose_grid, view_of
from napari_gempick.io.atomic import refuse_existing
from napari_gempick.io.formats import PicksInfo, format_for, format_named
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.geometry import box_over_diameter
from napari_gempick.model.settings import PickSettings
from napari_gempick.model.values import AUTO
from napari_gempick.results.thresholds import candidate_floor, decide, scores_of, selection_for

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_gempick.engine.matching.pipeline import Outcome, Progress
    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.geometry import Shape
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.score_maps import ScoreMap

__all__ = ["Picked", "pick", "repick", "write_picks"]


@dataclass(frozen=True, eq=False)
class Picked:
    """What was found on one micrograph.

    Attributes
    ----------
    picks : Picks
        Best first.
    candidates : Picks
        Every local maximum down to the settings' floor; `repick` chooses among them.
    scores : ScoreMap
        NCC and index maps on the searched grid.
    diameter : float
        The particle's, Å: of the settings, or of the masks.
    decoys : Picks, optional
        The candidates of the inverted contrast, where the settings keep them.
    thresholds : tuple of float
        Of each view; math.inf where `auto` finds no score above chance.
    rates : tuple of FalseRate
        Estimated false discovery rate of each view at any threshold; empty without decoys.
    excluded : (ny, nx) bool, optional
        Where no pick lies: given, or found by the setting `exclude` = auto.
    notes : tuple of str
        Sentences about the micrograph: defects that were replaced, and the grid where it is not the one asked for.
    """

    picks: Picks
    candidates: Picks
    scores: ScoreMap
    diameter: float
    decoys: Picks | None = None
    thresholds: tuple[float, ...] = ()
    rates: tuple[FalseRate, ...] = ()
    excluded: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()


def pick(
    image: ArrayLike,
    templates: Mapping[str, ArrayLike],
    settings: PickSettings | None = None,
    *,
    masks: Mapping[str, ArrayLike] | None = None,
    excluded: NDArray[np.bool_] | None = None,
    ctf: Ctf | None = None,
    cancel: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Picked:
    """Pick one micrograph.

    Parameters
    ----------
    image : (ny, nx) array
        Row 0 first, any real dtype, finite.
    templates : mapping of view name to (h, w) or (n, h, w) array
        A stack's sections are the templates of one view.
    settings : PickSettings, optional
        `pixel_size` (Å) is required; `template_pixel_size` defaults to it. Lists of files in it are not used, except
        masks given as files.
    masks : mapping of view name to (h, w) or (n, h, w) array, optional
        Weights 0..1; other views have the mask that the settings say.
    excluded : (ny, nx) bool, optional
        Where no pick may lie.
    ctf : Ctf, optional
        The micrograph's; templates are then protein-bright, and multiplied by it, or by its modulus if the settings say
        `phase_flipped`.
    cancel, progress
        See engine.matching.pipeline.search_all.

    Raises
    ------
    GempickError
        Settings, templates or the image cannot be used; the search was cancelled.

    Examples
    --------
    >>> micrograph = gp.read_micrograph("micrograph_002.mrc")
    >>> top = gp.read_stack("template_top.mrc")
    >>> settings = gp.PickSettings(pixel_size=micrograph.pixel_size, diameter=385, threshold="auto")
    >>> found = gp.pick(micrograph.data, {"top": top.data}, settings)
    >>> found.scores.score.dtype, len(found.picks) > 0, bool(found.picks.score[0] > found.thresholds[0])
    (dtype('float32'), True, True)
    """
    settings = settings or PickSettings()
    if settings.pixel_size is None:
        raise SettingsError("The pixel size of the array is unknown; give PickSettings(pixel_size=...) in Å.")
    if ctf is not None and settings.contrast != "same":
        raise SettingsError("The CTF gives the sign of the templates; omit the contrast, or the CTF.")
    if ctf is None and settings.phase_flipped != "no":
        raise SettingsError("The setting phase_flipped needs the micrograph's CTF; give pick(..., ctf=...).")
    if not isinstance(templates, Mapping):
        raise SettingsError("The templates must be a mapping of view names to arrays, such as {'side': template}.")
    pixels = np.ascontiguousarray(image, dtype=np.float32)
    if pixels.ndim != 2 or not np.isfinite(pixels).all() or pixels.min() == pixels.max():
        raise InputError("The micrograph must be a 2D array of finite numbers that are not all equal.")
    template_pixel_size = settings.template_pixel_size or settings.pixel_size
    specs = dict(zip(templates, settings.masks.of(templates), strict=True))
    views: list[View] = []
    for name, stack in templates.items():
        sections = np.asarray(stack, np.float32)
        sections = sections[None] if sections.ndim == 2 else sections
        rows = [(section, f"template {i + 1} of {name}", template_pixel_size) for i, section in enumerate(sections)]
        weights = None if masks is None or name not in masks else np.asarray(masks[name], np.float32)
        views.append(view_of(name, rows, specs[name], settings, weights))
    makers = BankMaker(settings, views, cancel)
    grid = choose_grid(settings, (pixels.shape[0], pixels.shape[1]), settings.pixel_size)
    plans = PlanStore()
    pool = DevicePool(open_devices(settings.devices, settings.threads, plans))
    source = source_of(pixels, grid, settings, makers, ctf)
    (outcome,) = search_all(
        [lambda: source],
        pool,
        tile_shape=plans.tile_shape,
        decoys=settings.decoys,
        wanted=Wanted(settings.search, candidate_floor(settings, makers.index.view_names)),
        cancel=cancel,
        progress=progress,
    )
    found = picked(outcome, settings, makers.diameter)
    if excluded is None and settings.exclude == AUTO:
        excluded = find_exclusion(source.image, makers.diameter / settings.pixel_size, source.replaced)
    return repick(replace(found, excluded=excluded), settings)


def picked(outcome: Outcome, settings: PickSettings, diameter: float) -> Picked:
    """Return the candidates of one searched micrograph, of which `repick` chooses; `diameter` in Å.

    Raises
    ------
    GempickError
        Why the search failed.
    """
    if outcome.error is not None:
        raise outcome.error
    assert outcome.scores is not None
    names = outcome.scores.bank.view_names
    candidates, decoys = find_peaks(
        outcome.scores,
        outcome.decoys,
        candidate_floor(settings, names),
        image=outcome.image,
        size=diameter / outcome.scores.grid.map_pixel_size,
        refine=outcome.refine,
        usual_floor=settings.candidate_floor,
    )
    return Picked(candidates, candidates, outcome.scores, diameter, decoys, notes=outcome.notes)


def repick(found: Picked, settings: PickSettings, *, excluded: NDArray[np.bool_] | None = None) -> Picked:
    """Choose picks among the candidates again: thresholds, distance, border, number. No correlation is computed.

    Parameters
    ----------
    found : Picked
        From `pick`.
    settings : PickSettings
        Those of the search, with other values of what chooses picks.
    excluded : (ny, nx) bool, optional
        Where no pick may lie; default as before.

    Returns
    -------
    Picked

    Raises
    ------
    SettingsError
        A threshold is for a view that there is not.

    Examples
    --------
    >>> micrograph = gp.read_micrograph("micrograph_002.mrc")
    >>> settings = gp.PickSettings(pixel_size=micrograph.pixel_size, diameter=385, angle_step=0, threshold=0.3)
    >>> found = gp.pick(micrograph.data, {"top": gp.read_stack("template_top.mrc").data}, settings)
    >>> fewer = gp.repick(found, settings.model_copy(update={"threshold": ("0.8",)}))
    >>> len(fewer.picks) < len(found.picks), len(fewer.candidates) == len(found.candidates)
    (True, True)
    """
    grid = found.scores.grid
    names = found.scores.bank.view_names
    selection = selection_for(settings, names, found.diameter, grid.pixel_size, grid.map_pixel_size)
    excluded = found.excluded if excluded is None else excluded
    rates = None
    if found.decoys is not None:
        scores = scores_of(found.candidates, found.decoys, selection, -1.0, grid.file_shape, excluded)
        rates = scores.rates()
    thresholds = decide(settings, names, rates)
    picks = select(found.candidates, replace(selection, thresholds=thresholds), grid.file_shape, excluded)
    return replace(found, picks=picks, thresholds=tuple(thresholds), rates=tuple(rates or ()))


def write_picks(
    path: Path | str,
    found: Picked | Picks,
    *,
    format: str | None = None,
    micrograph: str = "",
    pixel_size: float | None = None,
    shape: Shape | None = None,
    view_names: Sequence[str] = (),
    box_size: int | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the picks of one micrograph as a coordinate file, atomically.

    Parameters
    ----------
    path : Path or str
    found : Picked or Picks
        From a Picked, what follows below is known but for `micrograph`.
    format : str, optional
        As `gempick pick --format`; default by the ending of `path`.
    micrograph : str
        Its name as the data set calls it, with folders and suffix; it decides how rows are counted (a TIFF's from the
        last one in some formats).
    pixel_size : float, optional
        Å.
    shape : (ny, nx), optional
        Of the micrograph, px.
    view_names : sequence of str
        `Picks.view` counts them.
    box_size : int, optional
        px; default 1.5 diameters of a Picked.
    overwrite : bool
        Replace a file.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SettingsError
        The format is not known, or needs something that is not given.
    OutputError
        The file exists, or cannot be written.

    Examples
    --------
    >>> micrograph = gp.read_micrograph("micrograph_002.mrc")
    >>> settings = gp.PickSettings(pixel_size=micrograph.pixel_size, diameter=385, angle_step=0)
    >>> found = gp.pick(micrograph.data, {"top": gp.read_stack("template_top.mrc").data}, settings)
    >>> path = gp.write_picks("micrograph_002.box", found, micrograph="micrograph_002.mrc")
    >>> len(gp.read_coordinates(path).picks) == len(found.picks)
    True
    """
    path = Path(path)
    made = format_named(format) if format else format_for(path)
    refuse_existing([path], overwrite)
    if isinstance(found, Picked):
        grid = found.scores.grid
        picks, pixel_size = found.picks, pixel_size or grid.pixel_size
        shape, view_names = shape or grid.file_shape, view_names or found.scores.bank.view_names
        box_size = box_size or box_over_diameter(found.diameter, pixel_size)
    else:
        picks = found
    made.write(path, picks, PicksInfo(pixel_size, box_size, tuple(view_names), micrograph, shape))
    return path
