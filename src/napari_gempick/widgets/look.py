"""How things look: contrast, colours of views, colormaps. No Qt, no napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

VIEW_COLOURS = ("#2f9bff", "#ff9d2e", "#35c46a", "#e0529c", "#b58cff", "#c9c33a", "#3ac9c0", "#ff6b5a")
"""Blue and orange first: told apart by nearly everyone, and seen on grey."""
ADDED_COLOUR = "#ffffff"
_SAMPLED = 250_000


def contrast_limits(data: NDArray[Any]) -> tuple[float, float]:
    """Return the 0.5 and 99.5 % quantiles of an image's finite pixels, from a regular sample of them."""
    step = max(1, int(np.sqrt(data.shape[-1] * data.shape[-2] / _SAMPLED)))
    sample = np.asarray(data[..., ::step, ::step], np.float32)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def rgba(colour: str, alpha: float = 1.0) -> NDArray[np.float32]:
    """Return `#rrggbb` as four numbers from 0 to 1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.array([*parts, alpha], np.float32)


def score_colours() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return colours and their places (0 to 1) of the score map: 0.5 is the score 0 and black; blue below, amber above.

    Between -1 and 1 both halves have the same steps, so equal sizes of opposite sign are equally bright.
    """
    below = ["#8fd0ff", "#2f7fd0", "#123a66"]
    above = ["#5a2d0c", "#e0842a", "#fff3c8"]
    colours = [rgba(colour) for colour in (*below, "#000000", *above)]
    return np.stack(colours), np.array([0, 0.25, 0.42, 0.5, 0.58, 0.75, 1], np.float32)


def shades(colours: Sequence[str], view: NDArray[np.int32], psi: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a colour for each search image: its view's, lighter or darker with psi (period 180 degrees)."""
    base = np.stack([rgba(colour) for colour in colours])[view]
    light = 0.72 + 0.28 * np.cos(np.radians(2 * psi))
    base[:, :3] *= light[:, None].astype(np.float32)
    return base
