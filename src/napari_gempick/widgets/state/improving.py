"""A better template from the picks that are accepted: aligned and averaged over all searched micrographs. No Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.inputs.views import read_views
from napari_gempick.io.images.micrograph import as_float32, read_micrograph
from napari_gempick.model.errors import InputError
from napari_gempick.model.geometry import Extent
from napari_gempick.widgets.state.exporting import picks_by_micrograph
from napari_gempick.widgets.state.look import counted
from napari_gempick.workflows.average import MOST, average, require_same_pixel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.widgets.state.loading import CandidateCache
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.state import State
    from napari_gempick.workflows.export import Chosen

FEWEST = 5
"""Picks that make an average worth looking at."""
_CHOOSING, _READING, _ALIGNING = 0.1, 0.4, 0.9
"""Shares of the work that are done when the picks are chosen, the particles cut out, and these aligned."""


@dataclass(frozen=True, eq=False)
class Improved:
    """A template and the average that may replace it, on one grid and with the same contrast.

    Attributes
    ----------
    before, after : (h, w) float32
    pixel_size : float
        Å.
    score : float
        Mean NCC of the particles with the average of the others.
    problems : tuple of str
        Why micrographs are left out.
    """

    view: str
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    pixel_size: float
    particles: int
    micrographs: int
    score: float
    problems: tuple[str, ...]


def improve(
    state: State,
    results: Mapping[str, Result],
    folder: Path,
    selections: CandidateCache,
    name: str,
    progress: Callable[[float], None] = lambda share: None,
) -> Improved:
    """Average the accepted picks of a view over all searched micrographs, turned as they were found.

    Parameters
    ----------
    results : mapping of str to Result
    folder : Path
        Of the results.
    name : str
        A view with one template.
    progress : callable
        Called with the share that is done; an exception from it ends the work.

    Raises
    ------
    InputError
        There are too few picks, the micrographs have different pixel sizes, the view has several templates, or they
        are multiplied by a CTF.
    """
    if state.values.get("ctf"):
        raise InputError(
            "A search with a CTF multiplies the templates by it, but an average of particles already contains it. "
            "Search without a CTF to improve a template."
        )
    (view,) = (view for view in read_views(state.settings()) if view.name == name)
    if len(view.templates) > 1:
        raise InputError(f"{name} has {len(view.templates)} templates; only a view with one template can be improved.")
    before, pixel_size = view.templates[0], view.pixel_size
    found, problems = [], []
    for number, one in enumerate(picks_by_micrograph(state, results, folder, state.files, selections)):
        progress(_CHOOSING * number / len(state.files))
        if isinstance(one, str):
            problems.append(one)
        else:
            found.append((one, _of_view(one, name)))
    best = np.sort(np.concatenate([one.picks.score[mine] for one, mine in found] or [np.zeros(0)]))[::-1][:MOST]
    if len(best) < FEWEST:
        sentences = (
            f"{counted(len(best), 'pick')} of {name}, but a better template needs {FEWEST}; search more "
            "micrographs, or lower the threshold.",
            *problems,
        )
        raise InputError(" ".join(sentences))
    found = [(one, mine[one.picks.score[mine] >= best[-1]]) for one, mine in found]
    found = [(one, mine) for one, mine in found if len(mine)]
    sizes = [one.pixel_size for one, _ in found]
    require_same_pixel(sizes)
    spacing = min(sizes)

    def images() -> Iterator[NDArray[np.float32]]:
        for number, (one, _) in enumerate(found):
            progress(_CHOOSING + (_READING - _CHOOSING) * number / len(found))
            yield as_float32(read_micrograph(one.file.path, one.pixel_size), "replace")[0]

    made = average(
        images(),
        [np.stack([one.picks.x[mine], one.picks.y[mine]], axis=1) for one, mine in found],
        2 * math.ceil(max(before.shape) * pixel_size / spacing / 2),
        psi=[one.picks.psi[mine] for one, mine in found],
        progress=lambda share: progress(_READING + (_ALIGNING - _READING) * share),
    )
    height, width = before.shape
    whole = Extent(height // 2, width // 2, height - height // 2 - 1, width - width // 2 - 1)
    after = ContinuousImage(made.images[0], spacing, finest=pixel_size).sample(0.0, pixel_size, whole)
    after = _centred_as(before, after * np.float32(-1 if state.inverted else 1))
    used = len(set(made.micrograph.tolist()))
    progress(1.0)
    return Improved(name, before, after, pixel_size, len(made.x), used, float(made.score.mean()), tuple(problems))


def _centred_as(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return an average, (h, w), moved to where it fits the template best, about whose centre the mask lies."""
    spectra = [scipy.fft.rfft2(image - image.mean()) for image in (before, after)]
    alike = scipy.fft.irfft2(spectra[0] * np.conj(spectra[1]), before.shape)
    shift = np.unravel_index(int(np.argmax(alike)), alike.shape)
    return np.roll(after, shift, axis=(0, 1))


def _of_view(one: Chosen, name: str) -> NDArray[np.intp]:
    """Return the picks of a view whose angle is known."""
    picks = one.picks
    if name not in one.view_names:
        return np.zeros(0, np.intp)
    return np.flatnonzero(
        (picks.view == one.view_names.index(name)) & np.isfinite(picks.psi) & np.isfinite(picks.score)
    )
