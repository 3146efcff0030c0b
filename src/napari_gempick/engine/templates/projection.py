"""Projections of a 3D map: central slices of its Fourier transform.

Viewing directions: symmetry groups, and evenly spread directions in the asymmetric unit.

Angles are RELION's rot, tilt and psi (ZYZ; Heymann, Chagoyen & Belnap 2005, J Struct Biol 151, 196), in degrees.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDING = 2.0
_BESIDE = 2  # columns of negative frequency that the spline reaches


class Projector:
    """Projects one map in any direction.

    The slice is interpolated by cubic B-splines in the transform of the map, padded twofold. Their transform is
    sinc⁴, by which the map is divided beforehand (gridding); what folds over from beyond the padding is below 1e-3 of
    the density half-way to the edge of the map. The mean of the map's faces counts as background and is removed.

    Parameters
    ----------
    volume : (z, y, x) float32
        The map; its centre is voxel n // 2 of each axis.
    pixel_size : float
        Å per voxel.
    """

    def __init__(self, volume: NDArray[np.float32], pixel_size: float) -> None:
        self.side, self.pixel_size = max(volume.shape), pixel_size
        n = 2 * math.ceil(scipy.fft.next_fast_len(math.ceil(PADDING * self.side), real=True) / 2)
        padded = np.zeros((n, n, n), np.float32)
        faces = np.concatenate([np.take(volume, (0, -1), axis).ravel() for axis in range(3)])
        places = [slice(n // 2 - m // 2, n // 2 - m // 2 + m) for m in volume.shape]
        inside = padded[places[0], places[1], places[2]]
        inside[:] = volume - faces.mean(dtype=np.float64)
        for axis, place in enumerate(places):
            window = np.sinc((np.arange(n)[place] - n // 2) / n) ** 4
            inside /= window.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        spectrum = scipy.fft.rfftn(scipy.fft.ifftshift(padded), overwrite_x=True)
        spectrum = scipy.fft.fftshift(spectrum, axes=(0, 1))
        opposite = -np.arange(n) % n
        negative = spectrum[:, :, _BESIDE:0:-1].conj()[opposite][:, opposite]
        self._n, self._spectrum = n, np.concatenate([negative, spectrum], axis=2)

    def __call__(self, rot: float, tilt: float, psi: float = 0.0) -> NDArray[np.float32]:
        """Return the projection at RELION's angles (degrees), (n, n) float32: the integral along the beam, in map x Å.

        n is the map's longest side; the map's centre falls on pixel n // 2.
        """
        n, half = self._n, self._n // 2
        x_axis, y_axis, _ = euler_matrix(rot, tilt, psi)
        rows, columns = scipy.fft.fftfreq(n, 1 / n)[:, None], np.arange(half + 1)[None, :]
        place = x_axis[:, None, None] * columns + y_axis[:, None, None] * rows
        mirrored = place[0] < 0
        place[:, mirrored] *= -1
        inside = rows**2 + columns**2 < (half - _BESIDE) ** 2
        places = np.stack([place[2] + half, place[1] + half, place[0] + _BESIDE])[:, inside]
        values = ndimage.map_coordinates(self._spectrum, places, order=3, prefilter=False)
        central = np.zeros((n, half + 1), np.complex64)
        central[inside] = np.where(mirrored[inside], values.conj(), values)
        image = scipy.fft.fftshift(scipy.fft.irfft2(central, s=(n, n)))
        first = half - self.side // 2
        cut = image[first : first + self.side, first : first + self.side] * self.pixel_size
        return np.ascontiguousarray(cut, np.float32)


def shrink(volume: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return a map with voxels `factor` times as large, by Fourier cropping; its centre stays voxel n // 2."""
    if factor == 1:
        return volume
    sides = [2 * factor * math.ceil(n / (2 * factor)) for n in volume.shape]
    before = [side // 2 - n // 2 for n, side in zip(volume.shape, sides, strict=True)]
    pads = [(b, side - n - b) for b, n, side in zip(before, volume.shape, sides, strict=True)]
    spectrum = scipy.fft.rfftn(np.pad(volume, pads, mode="edge"))
    small = [side // factor for side in sides]
    for axis in (0, 1):
        keep = scipy.fft.fftfreq(small[axis], 1 / small[axis]).astype(int)
        spectrum = np.take(spectrum, keep, axis=axis)
        edge: list[slice | int] = [slice(None)] * 3
        edge[axis] = small[axis] // 2
        spectrum[tuple(edge)] = 0
    spectrum = spectrum[:, :, : small[2] // 2 + 1]
    spectrum[:, :, -1] = 0
    return np.asarray(scipy.fft.irfftn(spectrum, s=small) / factor**3, np.float32)


LARGEST_FOLD = 60
MOST_VIEWS = 20_000
_CELLS = 60  # directions that stand for the Voronoi cell of a view
_ROUNDS = 20
_REACH = 0.77
"""Steps; no direction is farther from a view. A hexagonal lattice with one in each step² has 0.62, Fibonacci's 0.77."""
_CHECK_SIDE = 32  # voxels a side of the map on which a symmetry is checked
_CHECKED = 15  # elements of a group, at most, that a map is turned by
_FIVEFOLD = math.degrees(math.atan2(1.0, (1 + math.sqrt(5)) / 2))  # from a two-fold axis of I to the next five-fold


def euler_matrix(rot: float, tilt: float, psi: float = 0.0) -> NDArray[np.float64]:
    """Return the (3, 3) matrix, acting on (x, y, z), that takes the map into the frame of the projection.

    The beam is the frame's z axis. psi turns counter-clockwise on screen (y points down). Degrees.
    """
    matrix = np.eye(3)
    for angle, (first, second) in ((rot, (0, 1)), (tilt, (2, 0)), (psi, (0, 1))):
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(math.radians(angle))
        turn[first, second] = math.sin(math.radians(angle))
        turn[second, first] = -turn[first, second]
        matrix = turn @ matrix
    return matrix


def symmetry_group(symmetry: str) -> Rotation:
    """Return the rotations of a point group: Cn, Dn, T, O or I.

    Cn and Dn have their n-fold axis along z, Dn a two-fold one along x; T and I have two-fold axes along x, y and z,
    and O four-fold ones (scipy.spatial.transform.Rotation.create_group).

    Raises
    ------
    SettingsError
        There is no such group, or its fold is above 60.
    """
    name = symmetry.strip().upper()
    match = re.fullmatch(r"[CD]([1-9]\d*)", name)
    if name in ("T", "O", "I") or (match and int(match[1]) <= LARGEST_FOLD):
        return Rotation.create_group(name)
    raise SettingsError(
        f"{symmetry!r} is not a known symmetry; write C1, C4, D2, D7 (up to {LARGEST_FOLD}-fold), T, O or I."
    )


def settings_of(symmetry: str) -> list[Rotation]:
    """Return the group in each of the settings that programs use for a map, `symmetry_group`'s first.

    Dn with a two-fold axis along y, T with a three-fold axis along z, I turned by 90 degrees about z or with a
    five-fold axis along z.
    """
    name = symmetry.strip().upper()
    turns = [Rotation.identity()]
    if name.startswith("D"):
        turns.append(Rotation.from_euler("z", 90 / int(name[1:]), degrees=True))
    elif name == "T":
        for sign in (1, -1):
            axes = [[0, 0, 1], [0, sign * math.sqrt(2 / 3), math.sqrt(1 / 3)]]
            turns.append(Rotation.align_vectors(axes, [[1, 1, 1], [0, 0, 1]], weights=[1, 1])[0])
    elif name == "I":
        crowther = Rotation.from_euler("z", 90, degrees=True)
        tilted = [Rotation.from_euler("y", sign * _FIVEFOLD, degrees=True) for sign in (1, -1)]
        turns += [crowther, *tilted, *(tilt * crowther for tilt in tilted)]
    group = symmetry_group(symmetry)
    return [turn * group * turn.inv() for turn in turns]


def setting_of_map(volume: NDArray[np.float32], symmetry: str) -> tuple[Rotation, float]:
    """Return the group in the setting that fits a map best, and how well: 1 is a perfectly symmetric map.

    The measure is the mean correlation of the map with itself turned, both smoothed to 32 voxels a side and without
    their mean at each distance from the centre, which any symmetry shares.
    """
    settings = settings_of(symmetry)
    if len(settings[0]) == 1:
        return settings[0], 1.0
    factor = max(1.0, max(volume.shape) / _CHECK_SIDE)
    side = math.ceil(max(volume.shape) / factor)
    smooth = ndimage.gaussian_filter(np.asarray(volume, np.float32), factor / 2 if factor > 1 else 0)
    centre, middle = np.array([n // 2 for n in volume.shape]), np.full(3, side // 2)
    distance = np.linalg.norm(np.indices((side,) * 3) - side // 2, axis=0)
    reach = distance < side // 2
    shell = distance[reach].astype(int)

    def turned(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        back = matrix[::-1, ::-1].T * factor  # of (z, y, x)
        values = ndimage.affine_transform(smooth, back, centre - back @ middle, (side,) * 3, order=1)[reach]
        values = values - (np.bincount(shell, values) / np.bincount(shell))[shell]
        return np.asarray(values / max(math.sqrt(float(np.square(values).sum())), 1e-12))

    itself = turned(np.eye(3))
    if not itself.any():
        return settings[0], 1.0
    some = slice(None, None, math.ceil(len(settings[0]) / _CHECKED))
    fits = [float(np.mean([(turned(m) * itself).sum() for m in group.as_matrix()[some]])) for group in settings]
    best = int(np.argmax(np.round(fits, 6)))
    return settings[best], fits[best]


def view_count(group: Rotation, step: float) -> int:
    """Return how many directions `step` degrees apart the asymmetric unit needs: its area over step²."""
    return max(1, math.ceil(4 * math.pi / len(group) / math.radians(step) ** 2 - 1e-9))


def viewing_directions(group: Rotation, step: float | None = None, views: int | None = None) -> NDArray[np.float64]:
    """Return directions spread evenly over the asymmetric unit.

    A Fibonacci lattice on the sphere (Swinbank & Purser 2006, Q J R Meteorol Soc 132, 1769); under a symmetry it is
    relaxed to the centroids of its Voronoi cells on the sphere of equivalent directions (Lloyd's algorithm; Du, Faber &
    Gunzburger 1999, SIAM Rev 41, 637), and views are added where a hole is left: no direction is farther than 0.8 steps
    from the nearest view.

    Both hemispheres are sampled, as far as the symmetry does not exchange them: opposite directions give mirror
    images, which no in-plane rotation brings together.

    Parameters
    ----------
    group : Rotation
        See `symmetry_group`.
    step : float, optional
        Mean distance of neighbours, degrees.
    views : int, optional
        Number of directions instead.

    Returns
    -------
    (n, 2) float64
        rot and tilt in degrees, by tilt; rot lies in [0, 360), tilt in [0, 180].

    Raises
    ------
    SettingsError
        Neither or both are given, or there would be more than 20,000 views.
    """
    if (step is None) == (views is None):
        raise SettingsError("Give either an angular step or a number of views.")
    count = view_count(group, step) if step is not None else int(views or 0)
    if not 1 <= count <= MOST_VIEWS:
        raise SettingsError(f"{count} views cannot be made; choose an angular step or a number for 1 to {MOST_VIEWS}.")
    matrices = group.as_matrix()
    if len(matrices) == 1:
        chosen = _lattice(count)
    else:
        every = _into_unit(_lattice(count * len(matrices) * _CELLS), matrices)
        chosen = _into_unit(_lattice(count * len(matrices)), matrices)
        chosen = chosen[np.argsort(chosen[:, 2], kind="stable")][:: len(matrices)][:count]
        for _ in range(_ROUNDS):
            copies = np.concatenate([chosen @ matrix.T for matrix in matrices])
            _, nearest = cKDTree(copies).query(every)
            operation, view = np.divmod(nearest, count)
            back = np.einsum("nij,nj->ni", matrices[operation].transpose(0, 2, 1), every)
            centroid = np.stack([np.bincount(view, back[:, axis], count) for axis in range(3)], axis=1)
            length = np.linalg.norm(centroid, axis=1, keepdims=True)
            chosen = np.where(length > 1e-9, centroid / np.maximum(length, 1e-9), chosen)
        if step is not None:
            chosen = _without_holes(chosen, every, matrices, math.radians(_REACH * step))
        chosen = _into_unit(chosen, matrices)
    tilt = np.degrees(np.arccos(np.clip(chosen[:, 2], -1, 1)))
    rot = np.degrees(np.arctan2(chosen[:, 1], chosen[:, 0])) % 360
    order = np.lexsort((rot.round(6), tilt.round(6)))
    return np.stack([rot, tilt], axis=1)[order]


def _without_holes(
    chosen: NDArray[np.float64], every: NDArray[np.float64], matrices: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Add views, the farthest direction first, until none of `every` is more than `reach` radians from a view.

    The relaxation leaves holes around axes of a high fold: a view beside the axis stands for all of its copies.
    """
    nearest, _ = cKDTree(np.concatenate([chosen @ matrix.T for matrix in matrices])).query(every)
    added = []
    while nearest.max() > 2 * math.sin(reach / 2):
        added.append(every[int(np.argmax(nearest))])
        for matrix in matrices:
            nearest = np.minimum(nearest, np.linalg.norm(every - matrix @ added[-1], axis=1))
    return np.concatenate([chosen, *(view[None] for view in added)])


def _lattice(count: int) -> NDArray[np.float64]:
    """Return (count, 3) unit vectors of a Fibonacci lattice."""
    number = np.arange(count) + 0.5
    z = 1 - 2 * number / count
    azimuth = number * math.pi * (3 - math.sqrt(5))
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=1)


def _into_unit(directions: NDArray[np.float64], matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each direction's equivalent nearest to one fixed direction: those fill one asymmetric unit."""
    fixed = np.array([0.42, 0.11, 0.9])
    nearness = directions @ (matrices.transpose(0, 2, 1) @ fixed).T  # (R d) . fixed
    best = np.argmax(nearness, axis=1)
    return np.asarray(np.einsum("nij,nj->ni", matrices[best], directions))
