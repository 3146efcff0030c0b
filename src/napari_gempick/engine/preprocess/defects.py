"""Detector defects: hot and dead pixels, bad rows and columns or parts of them, blobs, constant borders.

What tells a defect from an object is the detector's grid. A defect begins and ends between two pixels, it fills whole
rows or columns, or its pixels are all equal. An object passed the lens and the noise: its grey level falls over several
pixels, and no two of its pixels are equal for long. In an image without noise no defects are found.

Noise in place of bad pixels: with the mean and the spectrum of their surroundings, and no structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_gempick.engine.preprocess.fourier_filters import random_phases
from napari_gempick.engine.preprocess.grey_levels import median, sampled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

OUTLIER_SIGMA = 1e3
"""Defects higher than this spoil single precision and are always replaced."""
LEAST = 10.0
"""Robust standard deviations from the median that the strongest pixel of a defect has at least."""
JOINED = 5.0
"""So many have the pixels that are joined to it."""
HOT, SPECK, BLOB = 12.0, 20.0, 50.0
"""Least height of a single pixel, of a few joined ones, and of a blob whose pixels are not all equal."""
SPECK_SIDE, LINE_WIDTH, LINE_LENGTH = 5, 4, 8
"""Pixels: largest side of a speck; largest width and least length of a part of a row or column."""
MOST_BLOBS = 8
"""More blobs than this, not constant, are particles or beads."""
LARGEST = 0.25
"""Share of the micrograph, or of its rows or columns, that a blob or a band covers at most."""
WHOLE = 0.9
"""Share of a bad row's pixels that lie far outside."""
SHARP = 0.3
"""Height outside an edge over the height inside: of a defect it is smaller."""
TAIL = 4.75
"""A hot pixel differs from its neighbours by this multiple of the 97 % quantile of such differences."""
PASSES = 3
"""What stands out may hide beside what stands out more."""


@dataclass(frozen=True, eq=False)
class Defects:
    """Pixels that do not belong to the image.

    Attributes
    ----------
    where : (ny, nx) bool
    counts : tuple of (int, str, str)
        How many of each kind, and its name for one and for several.
    """

    where: Flags
    counts: tuple[tuple[int, str, str], ...]

    def joined(self, more: Defects) -> Defects:
        """Return these defects and others, of other pixels, together."""
        several = {one: (count, one, many) for count, one, many in self.counts}
        for count, one, many in more.counts:
            several[one] = (several.get(one, (0,))[0] + count, one, many)
        return Defects(self.where | more.where, tuple(several.values()))

    def sentence(self) -> str:
        """Return a sentence for the user: how many pixels of which kind were replaced."""
        names = [f"{count} {one if count == 1 else several}" for count, one, several in self.counts]
        only_one = sum(count for count, _, _ in self.counts) == 1
        text = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        return (
            f"{text} {'was' if only_one else 'were'} replaced by noise like that around {'it' if only_one else 'them'}."
        )


def replace_defects(image: NDArray[np.float32], least: float = LEAST) -> tuple[NDArray[np.float32], Defects | None]:
    """Return the micrograph without its defects, and a description of them; the same array if there are none.

    All other pixels stay as they are. The new pixels have the local mean and the noise of the surroundings, and no
    structure; it is the same at every call.

    Parameters
    ----------
    image : (ny, nx) float32
        Finite.
    least : float
        Only pixels that are further from the median than this many robust standard deviations are defects.
    """
    cleaned, found = image, None
    for _ in range(PASSES):
        more = find_defects(cleaned, least)
        if more is None:
            break
        found = more if found is None else found.joined(more)
        cleaned = filled(image, found.where)
    return cleaned, found


def find_defects(image: NDArray[np.float32], least: float = LEAST) -> Defects | None:
    """Return the defects of a micrograph, None where there are none; see replace_defects."""
    constant = constant_lines(image) if least <= LEAST else [np.zeros(n, bool) for n in image.shape]
    some = sampled(image, ~constant[0])
    some = some[:, ~constant[1]] if constant[1].any() else some
    centre, sigma = _level(some)
    if sigma == 0:
        return None
    level = np.float32(centre)
    farthest = max(image.max() - level, level - image.min())
    if not (farthest > least * sigma or any(lines.any() for lines in constant)):
        return None
    distance = np.abs(image - level)
    distance[constant[0]] = 0
    distance[:, constant[1]] = 0
    far = distance > JOINED * sigma
    rows, columns = (
        band | lines for band, lines in zip(_bands(distance, constant, JOINED * sigma), constant, strict=True)
    )
    if rows.mean() > 0.5 or columns.mean() > 0.5:
        return None
    where = rows[:, None] | columns[None, :]
    hot_from = max(least * sigma, HOT * sigma, TAIL * _usual_change(some))
    hot = _single(image, distance, centre, hot_from) & ~where
    left = np.where(where | hot, np.float32(0), distance)
    pieces = _pieces(image, left, far & ~where & ~hot, least * sigma, sigma, hot_from)
    single = hot.copy()
    parts_of_rows = parts_of_columns = blobs = 0
    for kind, place, inside in pieces:
        where[place] |= inside
        if kind == "speck":
            single[place] |= inside
        parts_of_rows += kind == "row"
        parts_of_columns += kind == "column"
        blobs += kind == "blob"
    where |= hot
    if least > LEAST:
        where &= distance > least * sigma
        single &= where
        rows, columns = (lines & where.any(axis=axis) for lines, axis in ((rows, 1), (columns, 0)))
    bright = int(np.count_nonzero(single & (image > centre)))
    counts = (
        (int(rows.sum()), "bad row", "bad rows"),
        (int(columns.sum()), "bad column", "bad columns"),
        (parts_of_rows, "part of a row", "parts of rows"),
        (parts_of_columns, "part of a column", "parts of columns"),
        (blobs, "blob", "blobs"),
        (bright, "hot pixel", "hot pixels"),
        (int(np.count_nonzero(single)) - bright, "dead pixel", "dead pixels"),
    )
    return Defects(where, tuple(one for one in counts if one[0])) if where.any() else None


def _level(image: NDArray[np.float32]) -> tuple[float, float]:
    """Return the median and the robust standard deviation of the pixels that differ from the next one."""
    values = image[:, :-1][image[:, :-1] != image[:, 1:]]
    if values.size < 16:
        return 0.0, 0.0
    centre = median(values)
    return centre, 1.4826 * median(values, centre)


def _usual_change(image: NDArray[np.float32]) -> float:
    """Return the 97 % quantile of the differences of neighbours, over the square root of two."""
    return float(np.quantile(np.abs(np.diff(image, axis=1)), 0.97)) / 2**0.5


def _runs(flags: Flags) -> Iterator[tuple[int, int]]:
    """Yield start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def constant_lines(image: NDArray[np.float32]) -> list[Flags]:
    """Return which rows and which columns (bool each) hold one value only, between others with noise.

    A row counts when the rows next to its run differ from its value nearly everywhere, by a fair part of their spread:
    a flat background between particles without noise does not.
    """
    found = [np.zeros(n, bool) for n in image.shape]
    for again, axis in enumerate((0, 1, 0, 1)):  # borders on all sides hide each other
        if again == 2 and not any(lines.any() for lines in found):
            break
        inner = image if not found[1 - axis].any() else np.compress(~found[1 - axis], image, axis=1 - axis)
        if inner.shape[1 - axis] < LINE_LENGTH:
            continue
        lines = inner if axis == 0 else inner.T
        flat = (lines[:, :: max(1, lines.shape[1] // LINE_LENGTH)] == lines[:, :1]).all(axis=1)
        flat[flat] = (lines[flat] == lines[flat, :1]).all(axis=1)
        flat |= found[axis]
        for start, stop in _runs(flat):
            beside = [
                (lines[i], lines[at, 0]) for i, at in ((start - 1, start), (stop, stop - 1)) if 0 <= i < len(lines)
            ]
            found[axis][start:stop] |= bool(beside) and all(
                np.mean(np.abs(line - value) > 0.2 * line.std()) > 0.5 and np.mean(line[1:] == line[:-1]) < 0.5
                for line, value in beside
            )
    return found


def _bands(distance: NDArray[np.float32], constant: list[Flags], joined: float) -> list[Flags]:
    """Return which rows and which columns lie far outside nearly everywhere, with a sharp step beside them."""
    found = []
    for axis in (0, 1):
        seen = distance if axis == 0 else distance.T
        good = ~constant[1 - axis]
        share = np.count_nonzero(seen[:, good] > joined, axis=1) / max(1, np.count_nonzero(good))
        bad = np.zeros(len(share), bool)
        for start, stop in _runs(share > WHOLE):
            if stop - start <= LARGEST * len(share):
                edges = [(i, at) for i, at in ((start - 1, start), (stop, stop - 1)) if 0 <= i < len(share)]
                heights = [(np.median(seen[i, good]), np.median(seen[at, good])) for i, at in edges]
                bad[start:stop] = bool(edges) and all(outside < SHARP * inside for outside, inside in heights)
        found.append(bad)
    return found


def _single(image: NDArray[np.float32], distance: NDArray[np.float32], centre: float, least: float) -> Flags:
    """Return the pixels that stand out from all four neighbours by `least`, and by most of their own height."""
    y, x = np.nonzero(distance > least)
    value = image[y, x] - np.float32(centre)
    sign = np.sign(value)
    drop = np.full(len(y), np.inf, np.float32)
    for v, u in _neighbours(image.shape, y, x):
        np.minimum(drop, sign * (value - (image[v, u] - np.float32(centre))), out=drop)
    hot = np.zeros(image.shape, bool)
    chosen = (drop > (1 - SHARP) * np.abs(value)) & (drop > least)
    hot[y[chosen], x[chosen]] = True
    return hot


def _pieces(
    image: NDArray[np.float32], distance: NDArray[np.float32], far: Flags, least: float, sigma: float, hot_from: float
) -> list[tuple[str, tuple[slice, slice], Flags]]:
    """Return the joined pixels that are defects: speck, row, column or blob, their box, and which pixels of it."""
    if not (distance[far] > least).any():
        return []
    labels, count = ndimage.label(far, np.ones((3, 3)))
    at = np.nonzero(far)
    highest = ndimage.maximum(distance[at], labels[at], np.arange(1, count + 1))
    areas = np.bincount(labels[at], minlength=count + 1)[1:]
    sharp, rim = _edges(distance, labels, count, at)
    places = ndimage.find_objects(labels)
    found, blobs = [], []
    for number in np.flatnonzero((highest > least) & sharp).tolist():
        place = places[number]
        inside = labels[place] == number + 1
        height, width = inside.shape
        thin, long = min(height, width), max(height, width)
        full = areas[number] / inside.size
        if long <= SPECK_SIDE:
            if highest[number] > (hot_from if areas[number] <= 2 else max(hot_from, SPECK * sigma)):
                found.append(("speck", place, inside))
        elif thin <= LINE_WIDTH and long >= max(LINE_LENGTH, 3 * thin) and full > 0.5:
            found.append(("row" if width > height else "column", place, np.ones_like(inside)))
        elif areas[number] <= LARGEST * image.size:
            values = image[place][inside]
            usual = float(np.median(distance[place][inside]))
            if np.mean(values == np.median(values)) > WHOLE:
                found.append(("blob", place, ndimage.binary_fill_holes(inside)))
            elif usual > BLOB * sigma and rim[number] > 0.5 * usual:
                blobs.append(("blob", place, ndimage.binary_fill_holes(inside)))
    return found + (blobs if len(blobs) <= MOST_BLOBS else [])


def _edges(
    distance: NDArray[np.float32], labels: NDArray[Any], count: int, at: tuple[NDArray[np.intp], ...]
) -> tuple[Flags, NDArray[np.floating]]:
    """Return of each label whether its edges are sharp for the most part, and its median height within them.

    `at` are the indices of all labelled pixels.
    """
    heights, owners, steep = [], [], []
    for v, u in _neighbours(labels.shape, *at):
        edge = labels[v, u] == 0
        inside = at[0][edge], at[1][edge]
        heights.append(distance[inside])
        owners.append(labels[inside])
        steep.append(distance[v[edge], u[edge]] < SHARP * heights[-1])
    owner, height = np.concatenate(owners), np.concatenate(heights)
    many = np.maximum(np.bincount(owner, minlength=count + 1)[1:], 1)
    share = np.bincount(owner, np.concatenate(steep), minlength=count + 1)[1:] / many
    return share >= 0.6, np.asarray(ndimage.median(height, owner, np.arange(1, count + 1)))


def _neighbours(
    shape: tuple[int, ...], y: NDArray[np.intp], x: NDArray[np.intp]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the indices of each of the four neighbours, mirrored at the micrograph's edges."""
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        v, u = (np.abs(n - 1 - np.abs(n - 1 - at)) for n, at in zip(shape, (y + dy, x + dx), strict=True))
        yield v, u


REACH = 3
"""Pixels around a bad one among which a good one is drawn."""
ENOUGH = 8
"""Good pixels that there must be."""
WINDOW = 13
"""Side of the smallest window of a local mean; noise that is put in place has no lower frequencies."""
SHARE = 0.3
"""Good pixels that a window must have."""
_CHUNK = 2**16


def filled(image: NDArray[np.float32], where: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a micrograph with noise at some pixels; the same at every call, all other pixels as they are.

    A pixel with enough good ones about it becomes one of them, drawn by lot. Deeper inside it is the mean of the good
    pixels of the smallest window that has enough, plus noise with the micrograph's power spectrum and random phases,
    without the low frequencies in which particles are.

    Parameters
    ----------
    image : (ny, nx) float32
    where : (ny, nx) bool
        Not everywhere.
    """
    out = image.copy()
    rng = np.random.default_rng(0)
    ys, xs = np.nonzero(where)
    shift = np.arange(-REACH, REACH + 1)
    deep = np.zeros(image.shape, bool)
    for first in range(0, len(ys), _CHUNK):
        y, x = (at[first : first + _CHUNK] for at in (ys, xs))
        v, u = y[:, None, None] + shift[:, None], x[:, None, None] + shift
        inside = (v >= 0) & (v < image.shape[0]) & (u >= 0) & (u < image.shape[1])
        v, u = (np.clip(at, 0, n - 1) for at, n in zip((v, u), image.shape, strict=True))
        good = (inside & ~where[v, u]).reshape(len(y), -1)
        number = good.sum(axis=1)
        drawn = np.floor(rng.random(len(y)) * number).astype(int)
        chosen = (np.cumsum(good, axis=1) == drawn[:, None] + 1).argmax(axis=1)
        dy, dx = np.unravel_index(chosen, (len(shift), len(shift)))
        enough = number >= ENOUGH
        out[y[enough], x[enough]] = image[(y + shift[dy])[enough], (x + shift[dx])[enough]]
        deep[y[~enough], x[~enough]] = True
    return _deeply_filled(out, where, deep) if deep.any() else out


def _deeply_filled(
    image: NDArray[np.float32], where: NDArray[np.bool_], deep: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Fill pixels far from good ones: local mean plus noise, window after window until all have enough good pixels."""
    good = ~where
    centre = np.float32(np.median(image[good]))
    start = np.where(good, image - centre, np.float32(0))
    mean = ndimage.uniform_filter(start, WINDOW)
    mean /= np.maximum(ndimage.uniform_filter(good.astype(np.float32), WINDOW), np.float32(1e-3))
    start -= mean
    start[where] = 0
    noise = random_phases(start, 0)
    noise *= np.median(np.abs(start[good])) / max(float(np.median(np.abs(noise))), 1e-30)
    out = image.copy()
    labels, _ = ndimage.label(deep)
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        left, size = labels[place] == number, WINDOW
        while left.any():
            wide = tuple(slice(max(0, at.start - size), at.stop + size) for at in place)
            inner = tuple(slice(at.start - w.start, at.stop - w.start) for at, w in zip(place, wide, strict=True))
            weights = good[wide].astype(np.float64)
            weight = ndimage.uniform_filter(weights, size, mode="constant")[inner]
            now = left & ((weight > SHARE) | (size > 2 * max(image.shape)))
            if now.any():
                mean = ndimage.uniform_filter(weights * (image[wide] - centre), size, mode="constant")[inner]
                out[place][now] = (mean / np.maximum(weight, 1e-9) + noise[place] + centre)[now]
            left, size = left & ~now, 2 * size + 1
    return out
