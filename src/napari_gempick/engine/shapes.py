"""Simple templates: Gaussian blob, disc, ring, rectangle."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORM = re.compile(r"(gaussian|disc):([\d.]+)|(ring|rectangle):([\d.]+)x([\d.]+)", re.IGNORECASE)
BOX_OVER_SIZE = 1.5
FINER = 4
"""Pixels are means over so many samples along each side."""


def parse(text: str) -> tuple[str, tuple[float, float]]:
    """Read gaussian:FWHM, disc:D, ring:OUTERxINNER or rectangle:AxB, sizes in Å.

    Raises
    ------
    SettingsError
        It is written differently, or a size is 0 or not smaller than the one before where it must be.
    """
    match = _FORM.fullmatch(text.strip())
    try:
        kind = (match[1] or match[3]).lower() if match else ""
        sizes = [float(size) for size in match.groups()[1:] if size and size[0] in "0123456789."] if match else []
    except ValueError:
        kind, sizes = "", []
    if not kind or min(sizes) <= 0 or (kind == "ring" and sizes[1] >= sizes[0]):
        raise SettingsError(
            f"{text!r} is no shape; write gaussian:FWHM, disc:D, ring:OUTERxINNER (outer first) or rectangle:AxB, in Å."
        )
    return kind, (sizes[0], sizes[-1])


def draw(kind: str, size: tuple[float, float], n: int, pixel_size: float) -> NDArray[np.float32]:
    """Return a shape of height 1 on 0, (n, n) float32, about pixel n // 2.

    Parameters
    ----------
    kind : {"gaussian", "disc", "ring", "rectangle"}
    size : (float, float)
        Å: full width at half maximum; diameter; outer and inner diameter; sides along x and y.
    n : int
        px.
    pixel_size : float
        Å.
    """
    grid = ((np.arange(n * FINER) + 0.5) / FINER - 0.5 - n // 2) * pixel_size
    y, x = grid[:, None], grid[None, :]
    radius = np.hypot(y, x)
    if kind == "gaussian":
        fine = np.exp(-4 * math.log(2) * (radius / size[0]) ** 2)
    elif kind == "rectangle":
        fine = ((np.abs(x) <= size[0] / 2) & (np.abs(y) <= size[1] / 2)).astype(float)
    else:
        fine = ((radius <= size[0] / 2) & ((radius >= size[1] / 2) | (kind == "disc"))).astype(float)
    return np.asarray(fine.reshape(n, FINER, n, FINER).mean(axis=(1, 3)), np.float32)


def box_of(sizes: list[tuple[str, tuple[float, float]]], pixel_size: float) -> int:
    """Return the even side in px of a box that holds all shapes with background: 1.5 times the largest extent."""
    largest = max(2 * size[0] if kind == "gaussian" else max(size) for kind, size in sizes)
    return 2 * math.ceil(BOX_OVER_SIZE * largest / pixel_size / 2)
