"""The step of the in-plane angle: what detail and diameter ask for, and what a step costs in score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.templates.sampling import ContinuousImage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.engine.templates.bank import Section

LEAST, MOST = 1.0, 15.0
"""Degrees between which an automatic step lies."""
MOST_LOSS = 0.03
"""Share of the score that an automatic step may cost where no low-pass tells how fine the detail is."""
LOOKED_AT = 4
"""Templates of which the loss is measured, at most."""
OFFSETS = (1 / 6, 1 / 2, 5 / 6)
"""Shares of half a step: how far a particle lies from the nearest angle that is searched."""
SIDE = 160
"""Pixels along a mask at which the loss is measured, at most."""


def half_crowther(detail: float, diameter: float) -> float:
    """Return half of Crowther's angle 2 asin(detail / diameter), in degrees, within LEAST and MOST.

    `detail` is the finest one, in the unit of `diameter`.
    """
    return min(MOST, max(LEAST, math.degrees(math.asin(min(1.0, detail / diameter)))))


def even(step: float) -> float:
    """Return the largest step, not above this one, that goes into 360 degrees."""
    return 360 / math.ceil(360 / step - 1e-6)


class StepLoss:
    """What steps cost: measured on the templates, each against itself turned.

    Parameters
    ----------
    sections : sequence of Section
        All templates; a few of them, evenly spaced, are measured.
    lowpass, highpass : float, optional
        Å; the filters of the search.
    """

    def __init__(self, sections: Sequence[Section], lowpass: float | None, highpass: float | None) -> None:
        every = np.unique(np.linspace(0, len(sections) - 1, min(LOOKED_AT, len(sections))).round().astype(int))
        self._sections = [sections[i] for i in every]
        self._spacings = [max(s.pixel_size, (lowpass or 0) / 4, s.mask.diameter / SIDE) for s in self._sections]
        self._images = [
            ContinuousImage(s.image, s.pixel_size, lowpass=lowpass, highpass=highpass, finest=spacing)
            for s, spacing in zip(self._sections, self._spacings, strict=True)
        ]

    def __call__(self, step: float) -> float:
        """Return the share of the score that a step in degrees costs on average over all angles, 0 to 1."""
        return max((self._of(i, step) for i in range(len(self._sections))), default=0.0)

    def _of(self, which: int, step: float) -> float:
        spacing, image = self._spacings[which], self._images[which]
        weights, extent = self._sections[which].mask.sample(0, spacing)
        share = weights.astype(np.float64) / weights.sum(dtype=np.float64)

        def standard(psi: float) -> np.ndarray:
            turned = image.sample(psi, spacing, extent).astype(np.float64)
            turned -= (share * turned).sum()
            return turned / math.sqrt(max(float((share * turned * turned).sum()), 1e-30))

        still = standard(0.0)
        found = [float((share * still * standard(part * step / 2)).sum()) for part in OFFSETS]
        return float(np.clip(1 - np.mean(found), 0, 1))

    def coarsest(self) -> float:
        """Return the coarsest step within LEAST and MOST that costs no more than MOST_LOSS."""
        low, high = LEAST, MOST
        if self(high) <= MOST_LOSS:
            return high
        while high / low > 1.05:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self(middle) <= MOST_LOSS else (low, middle)
        return low
