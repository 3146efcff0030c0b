"""Where arrays live: the functions that differ between the host's libraries and a GPU's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft
import scipy.ndimage

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, eq=False)
class Arrays:
    """Functions of NumPy and SciPy, or of the same names and meaning for a GPU.

    Attributes
    ----------
    xp : module
        As numpy.
    fft : module
        With rfft2 and irfft2.
    affine_transform : callable
        As scipy.ndimage's.
    """

    xp: Any
    fft: Any
    affine_transform: Callable[..., Any]


HOST = Arrays(np, scipy.fft, scipy.ndimage.affine_transform)
