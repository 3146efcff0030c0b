"""The bank of rotated templates: every template of every view at every in-plane angle, under its rotated mask."""

from __future__ import annotations

import functools
import hashlib
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from napari_gempick.device.base import HOST
from napari_gempick.engine.preprocess.fourier_filters import RINGING, crop_spectrum
from napari_gempick.engine.templates.sampling import ContinuousImage
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.geometry import Extent

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from napari_gempick.device.base import Arrays
    from napari_gempick.engine.preprocess.fourier_filters import Transfer
    from napari_gempick.engine.templates.masks import Mask
    from napari_gempick.model.score_maps import BankIndex


@dataclass(frozen=True, eq=False)
class Section:
    """One template: image, pixel size, and the mask that turns with it.

    Attributes
    ----------
    image : (h, w) float32
        Contrast as in the micrograph (already inverted where templates are protein-bright).
    pixel_size : float
        Å.
    mask : Mask
        Sections of a view may share one object.
    name : str
        For messages: file and section.
    """

    image: NDArray[np.float32]
    pixel_size: float
    mask: Mask
    name: str


@dataclass(frozen=True, eq=False)
class MaskGroup:
    """Rotated templates whose rotated masks are equal, byte for byte.

    Attributes
    ----------
    ks : (n,) int32
        Their full-bank numbers, ascending.
    extent : Extent
        Of the support, on the grid on which templates and masks are multiplied (finer than a cropped one).
    area : float
        N = sum of the weights.
    """

    ks: NDArray[np.int32]
    extent: Extent
    area: float


class _Store:
    """Arrays kept up to a number of bytes, the least recently used given up first; safe between threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._arrays: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        array = make()
        with self._lock:
            if key not in self._arrays and array.nbytes <= self._limit:
                self._arrays[key] = array
                self._held += array.nbytes
                while self._held > self._limit:
                    self._held -= self._arrays.popitem(last=False)[1].nbytes
        return array


class Bank:
    """Rotated templates on one grid, made when asked for and kept while memory allows.

    Parameters
    ----------
    index : BankIndex
        Views, sections and angles.
    sections : sequence of Section
        One per section of the index, views in order.
    spacing : float
        Å; pixel size of the searched grid.
    lowpass, highpass : float, optional
        Å; applied to the templates before masking.
    oversampling : int
        Above 1 for a cropped grid: templates and masks are multiplied on a grid so many times as fine, and the
        products are Fourier-cropped. Their sums with a micrograph of that band are then the fine grid's.
    transfer : Transfer, optional
        Applied to every template after rotation, in the micrograph's frame, before masking: the CTF, for instance.
    memory : int
        Bytes of rotated templates and masks to keep.
    check : callable
        Called for each rotated template while masks are turned; raises Cancelled to stop.

    Attributes
    ----------
    extent : Extent
        Of the union of all supports: every template is given in this box.
    groups : list of MaskGroup
        Distinct masks, in the order of their smallest k.
    compressions : dict
        What engine.matching.choice has found about the rotated templates.
    """

    def __init__(
        self,
        index: BankIndex,
        sections: Sequence[Section],
        spacing: float,
        *,
        lowpass: float | None = None,
        highpass: float | None = None,
        oversampling: int = 1,
        transfer: Transfer | None = None,
        memory: int = 128 * 2**20,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        if len(sections) != index.n_sections or not sections:
            raise SettingsError("There are no templates; give at least one with --templates.")
        self.index = index
        self._sections = list(sections)
        self._spacing = spacing
        self._oversampling = oversampling
        self._filters = (lowpass, highpass)
        self._transfer = transfer
        self._amplitudes: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._images: OrderedDict[int, ContinuousImage] = OrderedDict()
        self._images_lock = threading.Lock()
        self._templates, self._masks, self._weights = _Store(memory), _Store(memory // 2), _Store(memory // 2)
        self.compressions: dict[Hashable, Any] = {}
        self._group_masks(check)

    def _group_masks(self, check: Callable[[], None]) -> None:
        """Find equal masks by content, and the box that holds all of them."""
        n_rotations = self.index.n_rotations
        known: dict[tuple[int, int], int] = {}
        by_content: dict[bytes, int] = {}
        ks: list[list[int]] = []
        self._details: list[tuple[Extent, float]] = []
        for k in range(len(self.index)):
            check()
            section, rotation = divmod(k, n_rotations)
            mask = self._sections[section].mask
            key = (id(mask), rotation if mask.rotates else 0)
            group = known.get(key)
            if group is None:
                weights, extent = self._sample(mask, rotation)
                content = hashlib.blake2b(weights.tobytes(), digest_size=16)
                content.update(repr((weights.shape, extent)).encode())
                group = by_content.setdefault(content.digest(), len(ks))
                self._weights.get(group, lambda weights=weights: weights)  # type: ignore[misc]
                known[key] = group
                if group == len(ks):
                    ks.append([])
                    area = float(weights.sum(dtype=np.float64)) / self._oversampling**2
                    self._details.append((extent, area))
            ks[group].append(k)
        self.groups = [
            MaskGroup(np.array(members, np.int32), extent, area)
            for members, (extent, area) in zip(ks, self._details, strict=True)
        ]
        self.group_of = np.empty(len(self.index), np.int32)
        for number, group_ in enumerate(self.groups):
            self.group_of[group_.ks] = number
        reach = functools.reduce(Extent.union, (group_.extent for group_ in self.groups))
        self.extent = reach
        if self._oversampling > 1:
            sides = (reach.top, reach.left, reach.bottom, reach.right)
            self.extent = Extent(*(math.ceil(n / self._oversampling) + RINGING for n in sides))

    def _sample(self, mask: Mask, rotation: int) -> tuple[NDArray[np.float32], Extent]:
        """Return a mask's weights on the fine grid, and their extent there."""
        return mask.sample(rotation * self.index.angle_step, self._spacing / self._oversampling)

    @property
    def detail(self) -> float:
        """The finest detail of the templates, in pixels of the searched grid: the low-pass, or two pixels."""
        return max(2.0, (self._filters[0] or 0.0) / self._spacing)

    @property
    def _fine(self) -> Extent:
        """The box on the fine grid."""
        n = self._oversampling
        e = self.extent
        return Extent(n * e.top, n * e.left, n * e.bottom + n - 1, n * e.right + n - 1)

    def _fine_mask(self, group: int) -> NDArray[np.float32]:
        section, rotation = divmod(int(self.groups[group].ks[0]), self.index.n_rotations)
        weights = self._weights.get(group, lambda: self._sample(self._sections[section].mask, rotation)[0])
        extent = self._details[group][0]
        box = np.zeros(self._fine.box, np.float32)
        y, x = self._fine.top - extent.top, self._fine.left - extent.left
        box[y : y + weights.shape[0], x : x + weights.shape[1]] = weights
        return box

    def _crop(self, fine: NDArray[Any], on: Arrays = HOST) -> NDArray[np.float32]:
        """Return the array on the searched grid, without what its Nyquist frequency excludes."""
        if self._oversampling == 1:
            return fine.astype(np.float32, copy=False)
        shape = self.extent.box
        spectrum = crop_spectrum(on.fft.rfft2(fine), fine.shape[-2], shape)
        cropped: NDArray[Any] = on.fft.irfft2(spectrum, s=shape) / self._oversampling**2
        return cropped.astype(np.float32, copy=False)

    @functools.cached_property
    def core(self) -> NDArray[np.float32]:
        """The smallest weight of any mask at each pixel of the box, (h, w) float32."""
        core = self.mask(0)
        for group in range(1, len(self.groups)):
            core = np.minimum(core, self.mask(group))
        return core

    def mask(self, group: int) -> NDArray[np.float32]:
        """Return the weights of a group in the bank's box, (h, w) float32."""
        return self._masks.get(group, lambda: self._crop(self._fine_mask(group)))

    def twice_as_fine(self, group: int, shape: tuple[int, int]) -> NDArray[np.complex64]:
        """Return the conjugate half-spectrum of a group's weights over their sum, on a grid twice as fine.

        Parameters
        ----------
        shape : (my, mx)
            Of the searched grid with its padding; it holds the bank's box.

        Returns
        -------
        (2 my, mx + 1) complex64
        """
        return self._masks.get((group, shape), lambda: self._twice_as_fine(group, *shape))

    def _twice_as_fine(self, group: int, my: int, mx: int) -> NDArray[np.complex64]:
        weights, (height, width) = self._fine_mask(group), (2 * side for side in self.extent.box)
        if weights.shape != (height, width):
            cropped = crop_spectrum(scipy.fft.rfft2(weights), weights.shape[0], (height, width))
            weights = np.asarray(scipy.fft.irfft2(cropped, s=(height, width)), np.float32)
        columns = np.zeros((height, 2 * mx), np.float32)
        columns[:, np.arange(width) - 2 * self.extent.left] = weights / weights.sum(dtype=np.float64)
        spectrum = np.zeros((2 * my, mx + 1), np.complex64)
        spectrum[np.arange(height) - 2 * self.extent.top] = scipy.fft.rfft(columns)
        conjugate: NDArray[np.complex64] = np.conj(scipy.fft.fft(spectrum, axis=0, overwrite_x=True))
        return conjugate

    def mean_weights(self, group: int) -> NDArray[np.float64]:
        """Return a group's weights over their sum: its correlation with the micrograph is the local mean, (h, w)."""
        return self.mask(group).astype(np.float64) / self.groups[group].area

    def template(self, k: int) -> NDArray[np.float32]:
        """Return (T - mu) M / (N sT) of rotated template k in the bank's box, (h, w) float32.

        Its correlation with the micrograph, divided by the local standard deviation, is the NCC (Roseman 2003).

        Raises
        ------
        InputError
            The template is constant under its mask.
        """
        return self._templates.get(k, lambda: self.make_templates((k,), HOST)[0])

    def make_templates(self, ks: Sequence[int], on: Arrays) -> NDArray[np.float32]:
        """Return what `template` returns for each of `ks`, made anew where `on` says, (n, h, w) float32."""
        xp, n = on.xp, self._oversampling
        turned, groups = [], []
        for k in ks:
            section, rotation = divmod(k, self.index.n_rotations)
            turned.append(self._turned(section, rotation * self.index.angle_step, on))
            groups.append(int(self.group_of[k]))
        different = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        weights = xp.asarray(np.stack([self._fine_mask(group) for group in different])).astype(np.float64)
        if len(different) > 1:
            weights = weights[xp.asarray(np.array([different[group] for group in groups]))]

        def total(values: Any) -> Any:
            return values.reshape(len(values), -1).sum(axis=1).reshape(-1, 1, 1)

        images = xp.stack(turned).astype(np.float64)
        area = total(weights)
        mean = total(images * weights) / area
        images -= mean
        deviation = xp.sqrt(total(images * images * weights) / area)
        largest = abs(images * weights).max(axis=(1, 2), keepdims=True)
        constant = ~(deviation > 1e-6 * (abs(mean) + largest))
        if constant.any():
            k = ks[int(constant.reshape(-1).argmax())]
            name = self._sections[k // self.index.n_rotations].name
            raise InputError(f"{name} is constant under its mask; give another template or a larger mask.")
        return self._crop(images * weights * (n * n / (area * deviation)), on)

    def _turned(self, section: int, psi: float, on: Arrays) -> NDArray[np.float32]:
        """Return a template at psi in the fine box; the transfer acts in a larger box, from which nothing wraps."""
        spacing, e = self._spacing / self._oversampling, self._fine
        if self._transfer is None:
            return self._continuous(section).sample(psi, spacing, e, on)
        margin = math.ceil(self._transfer.reach(self._filters[0] or 2 * self._spacing) / spacing)
        height, width = (scipy.fft.next_fast_len(side + 2 * margin, real=True) for side in e.box)
        top, left = e.top + margin, e.left + margin
        wide = self._continuous(section).sample(psi, spacing, Extent(top, left, height - top - 1, width - left - 1), on)
        if wide.shape not in self._amplitudes:
            self._amplitudes[height, width] = self._transfer((height, width), spacing)
        spectrum = on.fft.rfft2(wide) * on.xp.asarray(self._amplitudes[height, width])
        rows, columns = (slice(margin, margin + side) for side in e.box)
        changed: NDArray[np.float32] = on.fft.irfft2(spectrum, s=wide.shape)[rows, columns]
        return changed

    def _continuous(self, section: int) -> ContinuousImage:
        with self._images_lock:
            image = self._images.pop(section, None)
            if image is None:
                source = self._sections[section]
                lowpass, highpass = self._filters
                image = ContinuousImage(
                    source.image,
                    source.pixel_size,
                    lowpass=lowpass,
                    highpass=highpass,
                    finest=self._spacing,
                    surrounded=self._transfer is not None,
                )
            self._images[section] = image
            while len(self._images) > 64:
                self._images.popitem(last=False)
        return image
