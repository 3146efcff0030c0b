"""Masks: circles, ellipses and rectangles drawn exactly at every angle; files and automatic ones rotated as images.

The in-plane symmetry of a template: how many turns of it look the same.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from scipy import ndimage

from napari_gempick.engine.templates.sampling import ContinuousImage, rotation_matrix
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.geometry import Extent

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGE_PIXELS = 3.0
"""Width of the soft edge of automatic masks, pixels of the templates."""
WIDENED = 0.06
"""Outlines are wider than the particle by this share of its diameter on each side."""
NOISY = 0.4
"""Share of the strongest grey level that noise at the border reaches where an outline cannot be told from it."""
BARE = 0.1
"""The same share; below it, noise is too weak to cut notches into an outline."""
CONVEX = 0.9
"""Share of its convex hull that an outline fills where notches are those of the particle."""
NEGLIGIBLE = 1e-4
"""Soft weights below this are set to 0, so that the support ends somewhere."""

_NUMBER = r"(\d+(?:\.\d*)?)"
_SHAPE = re.compile(rf"(?:(circle):{_NUMBER}|(ellipse|rectangle):{_NUMBER}x{_NUMBER})", re.IGNORECASE)


class Mask(Protocol):
    """Weights 0..1 around a centre, at any in-plane angle and on any grid."""

    rotates: bool
    """Whether the weights depend on psi."""

    diameter: float
    """Å; the largest extent of the support."""

    def sample(self, psi: float, spacing: float) -> tuple[NDArray[np.float32], Extent]:
        """Return the weights at psi (degrees) on a grid of `spacing` Å, cut to their support, and its extent."""


def crop_to_support(weights: NDArray[np.float32], centre: tuple[int, int]) -> tuple[NDArray[np.float32], Extent]:
    """Cut (y, x) weights to the box of their support; the extent says where `centre` lies in it."""
    rows, columns = np.nonzero(weights.any(axis=1))[0], np.nonzero(weights.any(axis=0))[0]
    if not rows.size:
        raise SettingsError("The mask is empty on the searched grid; give a larger one.")
    y0, y1, x0, x1 = (
        min(rows[0], centre[0]),
        max(rows[-1], centre[0]),
        min(columns[0], centre[1]),
        max(columns[-1], centre[1]),
    )
    extent = Extent(int(centre[0] - y0), int(centre[1] - x0), int(y1 - centre[0]), int(x1 - centre[1]))
    return np.ascontiguousarray(weights[y0 : y1 + 1, x0 : x1 + 1], dtype=np.float32), extent


def _edge(distance: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Weight at a signed distance (Å, negative inside) from an outline: binary, or a raised cosine of full `width`."""
    if width <= 0:
        return (distance <= 1e-6).astype(np.float64)
    return 0.5 * (1 - np.sin(np.pi * np.clip(distance / width, -0.5, 0.5)))


class ShapeMask:
    """A circle, ellipse or rectangle.

    Parameters
    ----------
    kind : {"circle", "ellipse", "rectangle"}
    size : (along x, along y) at psi 0, Å
    edge : float
        Å; full width of the raised-cosine edge centred on the outline; 0: binary.
    """

    def __init__(self, kind: str, size: tuple[float, float], edge: float = 0.0) -> None:
        self.kind, self.size, self.edge = kind, size, edge
        self.rotates = kind == "rectangle" or size[0] != size[1]
        self.diameter = math.hypot(*size) if kind == "rectangle" else max(size)

    def sample(self, psi: float, spacing: float) -> tuple[NDArray[np.float32], Extent]:
        """See Mask."""
        width = self.edge
        reach = math.ceil((self.diameter / 2 + width) / spacing) + 1
        grid = np.arange(-reach, reach + 1) * spacing
        matrix = rotation_matrix(psi if self.rotates else 0)
        y = matrix[0, 0] * grid[:, None] + matrix[0, 1] * grid[None, :]
        x = matrix[1, 0] * grid[:, None] + matrix[1, 1] * grid[None, :]
        a, b = self.size[0] / 2, self.size[1] / 2
        if self.kind == "rectangle":
            weights = _edge(np.abs(x) - a, width) * _edge(np.abs(y) - b, width)
        else:
            radius = np.hypot(x, y)
            scaled = np.hypot(x / a, y / b)
            outline = np.divide(radius, scaled, out=np.full_like(radius, min(a, b)), where=scaled > 0)
            weights = _edge(radius - outline, width)
        weights[weights < NEGLIGIBLE] = 0
        return crop_to_support(weights.astype(np.float32), (reach, reach))


class ImageMask:
    """A mask given as an image, rotated by linear interpolation (scipy.ndimage, order 1) about its pixel n // 2.

    Parameters
    ----------
    weights : (h, w) float32
        0..1.
    pixel_size : float
        Å.
    soft : bool
        Keep interpolated weights; else a binary mask is cut at 0.5 again after rotation.
    softening : float
        Å; standard deviation of the Gaussian that a binary mask is smoothed by, after which it stays soft.
    """

    def __init__(
        self, weights: NDArray[np.float32], pixel_size: float, *, soft: bool = False, softening: float = 0.0
    ) -> None:
        self._weights = np.asarray(weights, np.float32)
        self._pixel_size = pixel_size
        binary = bool(np.isin(self._weights, (0, 1)).all())
        self._softening = softening / pixel_size if binary else 0.0
        self._cut = binary and not soft and not self._softening
        self.rotates = not _is_radial(self._weights)
        rows, columns = np.nonzero(self._weights)
        cy, cx = (n // 2 for n in self._weights.shape)
        self.diameter = float(2 * np.hypot(rows - cy, columns - cx).max() + 1) * pixel_size

    def sample(self, psi: float, spacing: float) -> tuple[NDArray[np.float32], Extent]:
        """See Mask."""
        psi = psi if self.rotates else 0.0
        same_grid = math.isclose(spacing, self._pixel_size, rel_tol=1e-6)
        if psi % 360 == 0 and same_grid and not self._softening:
            return crop_to_support(self._weights, (self._weights.shape[0] // 2, self._weights.shape[1] // 2))
        scale = spacing / self._pixel_size
        pad = math.ceil(max(scale, 4 * self._softening)) + 1
        source = np.pad(self._weights, pad)
        if self._softening:
            source = ndimage.gaussian_filter(source, self._softening, mode="constant")
        reach = math.ceil(max(source.shape) / scale / math.sqrt(2)) + 1
        matrix = rotation_matrix(psi) * scale
        centre = np.array([n // 2 + pad for n in self._weights.shape], float)
        weights = np.empty((2 * reach + 1, 2 * reach + 1), np.float32)
        ndimage.affine_transform(source, matrix, centre - matrix @ [reach, reach], output=weights, order=1)
        if self._cut:
            weights = (weights >= 0.5 - 1e-6).astype(np.float32)
        weights[weights < NEGLIGIBLE] = 0
        return crop_to_support(np.minimum(weights, 1), (reach, reach))


def _is_radial(weights: NDArray[np.float32]) -> bool:
    """Return whether the weights fall with the distance from the centre pixel and depend on nothing else."""
    height, width = weights.shape
    squared = ((np.arange(height) - height // 2) ** 2)[:, None] + ((np.arange(width) - width // 2) ** 2)[None, :]
    order = np.argsort(squared, axis=None, kind="stable")
    radius, value = squared.ravel()[order], weights.ravel()[order]
    groups = np.nonzero(np.diff(radius))[0] + 1
    starts = np.concatenate([[0], groups])
    highest, lowest = np.maximum.reduceat(value, starts), np.minimum.reduceat(value, starts)
    inscribed = radius[starts] <= (min(height - height // 2 - 1, width - width // 2 - 1, height // 2, width // 2)) ** 2
    if value[np.searchsorted(radius, radius[starts][inscribed][-1], side="right") :].any():
        return False
    return bool(np.all(highest - lowest <= 1e-6) and np.all(lowest[:-1] >= highest[1:] - 1e-6))


def automatic_weights(*templates: NDArray[np.float32], edge: float = EDGE_PIXELS) -> NDArray[np.float32]:
    """Return the mask (h, w) of a view: the outlines of its templates, (h, w) each, over one another, with a soft edge.

    Sections of a view compete for the best score, and under a small mask noise scores higher: hence one mask for all.
    The raised-cosine edge, `edge` pixels wide, is centred on the outline.
    """
    whole = np.any([outline(template) for template in templates], axis=0)
    pad = math.ceil(edge) + 1
    wide = np.pad(whole, pad)
    distance = ndimage.distance_transform_edt(~wide) - ndimage.distance_transform_edt(wide)
    weights = _edge(distance - 0.5 * np.sign(distance), edge)[pad:-pad, pad:-pad]
    weights[weights < NEGLIGIBLE] = 0
    return weights.astype(np.float32)


def outline(template: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return binary weights (h, w) of the particle in a template.

    The deviation from the border's mean is smoothed and cut half-way between the border's noise and its
    95 % quantile's third; the part at the centre is closed, filled and widened. Noise draws notches into the outline of
    a noisy average: then it is the convex hull, and where noise is nearly as strong as the particle the circle over two
    thirds of the shorter side, because boxes are cut 1.5 times as wide as particles.
    """
    image = template.astype(np.float64)
    height, width = image.shape
    rim = max(1, min(height, width) // 20)
    border = np.ones(image.shape, bool)
    border[rim:-rim, rim:-rim] = False
    deviation = np.abs(ndimage.gaussian_filter(image - image[border].mean(), max(1.0, min(height, width) / 48)))
    noise, most = 2.5 * float(deviation[border].std() + deviation[border].mean()), float(deviation.max())
    if noise > NOISY * most > 0:
        y, x = np.ogrid[:height, :width]
        return np.asarray(np.hypot(y - height // 2, x - width // 2) <= min(height, width) / 3, np.float32)
    level = min(max(noise, 0.3 * float(np.quantile(deviation, 0.95))), 0.6 * most)
    inside = ndimage.binary_closing(np.pad(deviation > level, rim + 2), iterations=rim + 1)[
        rim + 2 : -rim - 2, rim + 2 : -rim - 2
    ]
    labels, count = ndimage.label(ndimage.binary_fill_holes(inside))
    if count == 0:
        return np.ones(image.shape, np.float32)
    y, x = np.ogrid[:height, :width]
    middle = np.exp(-(((y - height // 2) / (height / 4)) ** 2 + ((x - width // 2) / (width / 4)) ** 2))
    best = 1 + int(np.argmax(ndimage.sum_labels(middle, labels, np.arange(1, count + 1))))
    whole = labels == best
    if noise > BARE * most:
        hull = _hull(whole)
        whole = hull if whole.sum() < CONVEX * hull.sum() else whole
    return widened(whole, WIDENED)


def _hull(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels (h, w) of the convex hull."""
    from scipy.spatial import ConvexHull, QhullError  # here, because few masks need it and it is slow to import

    points = np.argwhere(inside & ~ndimage.binary_erosion(inside))
    if min(np.ptp(points, axis=0)) == 0:
        return inside
    try:
        sides = ConvexHull(points).equations
    except QhullError:  # a slanting line
        return inside
    y, x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    within = np.ones(inside.shape, bool)
    for along_y, along_x, offset in sides:
        within &= along_y * y + along_x * x + offset <= 1e-9
    return within


def widened(inside: NDArray[Any], share: float) -> NDArray[np.float32]:
    """Return binary weights (h, w) grown on all sides by a share of the diameter of a circle of their area."""
    by = max(1.0, share * 2 * math.sqrt(float(inside.sum()) / math.pi))
    return np.asarray(ndimage.distance_transform_edt(inside < 0.5) <= by, np.float32)


def framed(mask: Mask, shape: tuple[int, int], spacing: float) -> NDArray[np.float32]:
    """Return a mask's weights at psi 0 in an image of `shape` (h, w) about pixel n // 2; what does not fit is cut."""
    weights, extent = mask.sample(0, spacing)
    whole = np.zeros(shape, np.float32)
    source = [np.arange(n) - n // 2 + first for n, first in zip(shape, (extent.top, extent.left), strict=True)]
    inside = [(axis >= 0) & (axis < n) for axis, n in zip(source, weights.shape, strict=True)]
    taken = [axis[fits] for axis, fits in zip(source, inside, strict=True)]
    whole[np.ix_(*inside)] = weights[np.ix_(*taken)]
    return whole


def soft_edge(weights: NDArray[np.float32], width: float) -> NDArray[np.float32]:
    """Return binary weights (h, w) with a raised-cosine edge, `width` pixels wide, outside their outline."""
    if width <= 0 or not weights.any():
        return weights
    distance = ndimage.distance_transform_edt(weights < 0.5)
    soft: NDArray[np.float32] = (0.5 * (1 + np.cos(np.pi * np.clip(distance / width, 0, 1)))).astype(np.float32)
    soft[soft < NEGLIGIBLE] = 0
    return soft


def parse_shape(text: str) -> tuple[str, tuple[float, float]] | None:
    """Return kind and size (x, y) in Å of `circle:D`, `ellipse:AxB` or `rectangle:AxB`; None for anything else.

    Raises
    ------
    SettingsError
        The text begins like a shape but its sizes are missing or zero.
    """
    match = _SHAPE.fullmatch(text)
    if match is None:
        if text.lower().split(":")[0] in ("circle", "ellipse", "rectangle"):
            raise SettingsError(f"--mask {text}: write circle:D, ellipse:AxB or rectangle:AxB with sizes in Å.")
        return None
    circle, diameter, kind, along_x, along_y = match.groups()
    size = (float(diameter), float(diameter)) if circle else (float(along_x), float(along_y))
    if min(size) <= 0:
        raise SettingsError(f"--mask {text}: sizes must be larger than 0 Å.")
    return (circle or kind).lower(), size


def likeness(image: NDArray[Any], other: NDArray[Any], weights: NDArray[np.floating]) -> float:
    """Return the correlation of two images under weights (h, w): 1 for equal up to gain and offset."""
    a, b = (one - np.average(one, weights=weights) for one in (image.astype(np.float64), other.astype(np.float64)))
    norm = np.sqrt((a * a * weights).sum() * (b * b * weights).sum())
    return float((a * b * weights).sum() / norm) if norm > 0 else 0.0


HIGHEST = 12
ALIKE = 0.97
"""Correlation of a template with its turned self from which both count as the same."""


def in_plane_symmetry(image: NDArray[np.float32], weights: NDArray[np.float32]) -> tuple[int, float]:
    """Return the largest n up to 12 for which a turn by 360 / n degrees changes little, and the correlation there.

    Parameters
    ----------
    image : (h, w) float32
    weights : (h, w) float32
        The mask at psi 0; what a turn brings in from outside it does not count.

    Returns
    -------
    n : int
        1 without symmetry.
    correlation : float
        Of the image and the turned one under both masks; 1 for n = 1.
    """
    height, width = image.shape
    extent = Extent(height // 2, width // 2, height - 1 - height // 2, width - 1 - width // 2)
    whole = ContinuousImage(image, 1.0)
    mask = ContinuousImage(np.asarray(weights, np.float32), 1.0)
    for n in range(HIGHEST, 1, -1):
        turned, there = (np.asarray(what.sample(360 / n, 1.0, extent), np.float64) for what in (whole, mask))
        common = np.clip(there, 0, 1) * weights
        if common.sum() < 0.5 * weights.sum():
            continue
        correlation = likeness(image, turned, common)
        if correlation >= ALIKE:
            return n, correlation
    return 1, 1.0
