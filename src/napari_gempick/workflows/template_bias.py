"""The bias meter: how much the average of picks from pure noise resembles the template.

See Henderson 2013, PNAS 110, 18037.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
from scipy import ndimage

from napari_gempick.engine.preprocess.defects import OUTLIER_SIGMA, replace_defects
from napari_gempick.engine.preprocess.fourier_filters import CtfTransfer, random_phases
from napari_gempick.engine.preprocess.grey_levels import Standard
from napari_gempick.engine.templates.masks import ShapeMask, automatic_weights, framed, likeness, parse_shape
from napari_gempick.engine.templates.sampling import rotation_matrix
from napari_gempick.inputs.preparation import Preparation
from napari_gempick.inputs.views import View, read_views
from napari_gempick.io.atomic import refuse_existing
from napari_gempick.io.images.micrograph import as_float32, read_micrograph, require_pixel_size
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.values import named_texts
from napari_gempick.workflows.arrays import Picked, pick, repick

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.settings import PickSettings


def noise_like(image: NDArray[np.float32], seed: int = 0) -> NDArray[np.float32]:
    """Return noise of the same size and power spectrum as a micrograph, (y, x) float32: its phases are random."""
    cleaned, _ = replace_defects(image, OUTLIER_SIGMA)
    return random_phases(Standard.of(cleaned).applied(cleaned), seed)


def average_of_picks(
    image: NDArray[np.float32], picks: Picks, side: tuple[int, int], scale: float
) -> NDArray[np.float32]:
    """Return the mean of the picks, each turned back by its psi, on the template's grid, (h, w) float32.

    Parameters
    ----------
    image : (y, x) float32
    picks : Picks
        Positions in pixels of the image.
    side : (h, w)
        Of the template.
    scale : float
        Pixel size of the template over that of the image.
    """
    smooth = ndimage.gaussian_filter(image, 0.5 * scale) if scale > 1 else image
    coefficients = ndimage.spline_filter(smooth, order=3, output=np.float32, mode="mirror")
    middle = np.array(side) // 2
    total = np.zeros(side, np.float64)
    for x, y, psi in zip(picks.x, picks.y, picks.psi, strict=True):
        matrix = rotation_matrix(-psi % 360) * scale
        total += ndimage.affine_transform(
            coefficients, matrix, np.array([y, x]) - matrix @ middle, side, order=3, mode="nearest", prefilter=False
        )
    return np.asarray(total / max(1, len(picks)), np.float32)


def through_lens(
    template: NDArray[np.float32], pixel_size: float, lens: CtfTransfer, psis: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return what the average of particles looks like that lay at `psis` (degrees) under a lens, turned back; (h, w).

    The lens stays with the micrograph, so turning the particle back by psi turns the astigmatism about it.
    """
    margin = math.ceil(lens.reach(2 * pixel_size) / pixel_size)
    rim = np.concatenate([template[0], template[-1], template[:, 0], template[:, -1]])
    wide = np.pad(template.astype(np.float64) - rim.mean(), margin, mode="linear_ramp")
    angles, counts = np.unique(np.round(psis), return_counts=True) if len(psis) else (np.zeros(1), np.ones(1))
    if lens.ctf.defocus_u == lens.ctf.defocus_v:
        angles, counts = np.zeros(1), np.ones(1)
    amplitude = np.zeros(1)
    for psi, count in zip(angles.tolist(), (counts / counts.sum()).tolist(), strict=True):
        turned = replace(lens, ctf=replace(lens.ctf, angle=lens.ctf.angle + psi))
        amplitude = amplitude + count * turned(wide.shape, pixel_size)
    seen = scipy.fft.irfft2(scipy.fft.rfft2(wide) * amplitude, s=wide.shape)
    return np.asarray(seen[tuple(slice(margin, margin + n) for n in template.shape)], np.float32)


LEAST = 10
"""At least this many picks of each view are averaged, if there are as many candidates."""


def check_files(
    settings: PickSettings,
    micrograph: Path,
    *,
    folder: Path | None = None,
    particles: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Pick a micrograph, and noise of its size and spectrum, with the same settings; average the best of both.

    Parameters
    ----------
    folder : Path, optional
        Gets NAME_check.mrcs for each view: mean template (with --ctf under the CTF, as the picks were turned), average
        of the micrograph's picks, average of the noise's.
    particles : int, optional
        So many of each view are averaged; default as many as the micrograph has picks.
    seed : int
        Of the noise.
    progress : callable, optional
        Called with the share that is done.

    Returns
    -------
    dict
        For each view: picks at the threshold in both, the number averaged, and the likeness (correlation under the
        mask) of both averages to the templates.

    Raises
    ------
    GempickError
        The settings or files cannot be used, or a file already exists.
    """
    views = read_views(settings)
    if len({view.pixel_size for view in views}) > 1 or any(len({t.shape for t in v.templates}) > 1 for v in views):
        raise SettingsError("The templates must have one pixel size, and one size in each view; check them one by one.")
    paths = {} if folder is None else {view.name: folder / f"{view.name}_check.mrcs" for view in views}
    refuse_existing(paths.values(), overwrite)
    read = read_micrograph(micrograph, settings.pixel_size)
    image, _ = as_float32(read, settings.bad_pixels)
    spacing = views[0].pixel_size
    settings = settings.model_copy(
        update={"pixel_size": require_pixel_size(read), "template_pixel_size": spacing, "exclude": None}
    )
    assert settings.pixel_size is not None
    ctf = Preparation(settings).ctf_of(micrograph)
    real = _picked(image, views, settings, ctf, None if progress is None else lambda share: progress(share / 2))
    thresholds = {view.name: at for view, at in zip(views, real.thresholds, strict=True)}
    settings = settings.model_copy(update={"threshold": named_texts(thresholds)})
    noise = noise_like(image, seed)
    false = _picked(noise, views, settings, ctf, None if progress is None else lambda share: progress((1 + share) / 2))
    compare = _Comparison(settings, views, ctf, (image, noise), (real, false))
    rows = []
    for number, view in enumerate(views):
        row, images = compare.view(number, particles)
        if paths:
            write_mrc(paths[view.name], images, spacing, stack=True)
        rows.append(row | {"file": str(paths[view.name]) if paths else None})
    notes = [*(note for view in views for note in view.notes), *read.warnings]
    return {"micrograph": str(micrograph), "seed": seed, "notes": notes, "views": rows}


class _Comparison:
    """Averages the best picks of a micrograph and of noise, and compares both with the templates.

    Parameters
    ----------
    settings : PickSettings
        With pixel sizes, and a threshold for each view.
    pixels, found
        Of the micrograph and of the noise.
    """

    def __init__(
        self,
        settings: PickSettings,
        views: list[View],
        ctf: Ctf | None,
        pixels: tuple[NDArray[np.float32], NDArray[np.float32]],
        found: tuple[Picked, Picked],
    ) -> None:
        assert settings.pixel_size is not None
        self._settings, self._views, self._ctf = settings, views, ctf
        self._pixels, self._found = pixels, found
        self._sign = np.float32(-1 if settings.contrast == "opposite" else 1)
        self._scale = views[0].pixel_size / settings.pixel_size

    def view(self, number: int, particles: int | None) -> tuple[dict[str, Any], NDArray[np.float32]]:
        """Return what is reported of a view, and its mean template and the averages of both, (3, h, w)."""
        view = self._views[number]
        at_threshold = [int((found.picks.view == number).sum()) for found in self._found]
        count = particles or max(LEAST, at_threshold[0])
        best = [_best(found, self._settings, number, count) for found in self._found]
        count = min(len(one) for one in best)
        averages, alike, references = [], [], []
        for pixels, one in zip(self._pixels, best, strict=True):
            one = one.take(slice(0, count))
            average = average_of_picks(pixels, one, view.templates[0].shape, self._scale)
            reference = self._reference(number, one)
            averages.append(average)
            references.append(reference)
            alike.append(likeness(average, reference, _weights(view)))
        row = {
            "name": view.name,
            "threshold": self._found[0].thresholds[number],
            "picks": at_threshold[0],
            "picks_in_noise": at_threshold[1],
            "averaged": count,
            "likeness": round(alike[0], 4),
            "likeness_of_noise": round(alike[1], 4),
        }
        return row, np.stack([references[0], *averages])

    def _reference(self, number: int, picks: Picks) -> NDArray[np.float32]:
        """Return the mean of the templates that picks of a view were found with, as the lens shows it, (h, w)."""
        view, first = self._views[number], sum(len(one.templates) for one in self._views[:number])
        shares = np.bincount(picks.section - first, minlength=len(view.templates)) / max(1, len(picks))
        mean = sum(share * t for share, t in zip(shares, view.templates, strict=True)) * self._sign
        reference = np.asarray(mean, np.float32) if len(picks) else view.templates[0] * self._sign
        if self._ctf is None:
            return reference
        return through_lens(reference, view.pixel_size, CtfTransfer(self._ctf, self._settings.phase_flipped), picks.psi)


def _picked(
    image: NDArray[np.float32],
    views: list[View],
    settings: PickSettings,
    ctf: Ctf | None,
    progress: Callable[[float], None] | None,
) -> Picked:
    stacks = {view.name: np.stack(view.templates) for view in views}
    masks = {view.name: view.mask_weights for view in views if view.mask_weights is not None}
    settings = settings.model_copy(update={"candidate_floor": 0.0})
    report = None if progress is None else lambda state: progress(state.share)
    return pick(image, stacks, settings, masks=masks, ctf=ctf, progress=report)


def _best(found: Picked, settings: PickSettings, view: int, count: int) -> Picks:
    """Return the best picks of a view, whatever the threshold."""
    lowest = settings.model_copy(update={"threshold": ("0",), "max_picks": None, "max_threshold": None})
    picks = repick(found, lowest).picks
    return picks.take(np.nonzero(picks.view == view)[0][:count])


def _weights(view: View) -> NDArray[np.float32]:
    """Return the mask of a view's first template on its grid, (h, w)."""
    if view.mask_weights is not None:
        weights: NDArray[np.float32] = view.mask_weights[0]
        return weights
    shape = parse_shape(view.mask)
    if shape is None:
        return automatic_weights(*view.templates)
    return framed(ShapeMask(*shape), view.templates[0].shape, view.pixel_size)
