"""What the engine asks of a device.

Where arrays live: the functions that differ between the host's libraries and a GPU's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import scipy.fft
import scipy.ndimage

if TYPE_CHECKING:
    from collections.abc import Callable


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from napari_gempick.device.tiling import Tiling

    Array = Any
    Rect = tuple[slice, slice]

Result = TypeVar("Result")


class Images(Protocol):
    """Numbered images that are correlated with a micrograph."""

    def template(self, k: int) -> Array:
        """Return image k, of a bank template k normalised under its mask, (h, w) float32 on the host, kept there."""


class Blocks(Images, Protocol):
    """What a device asks of a bank; see engine.templates.bank.Bank."""

    def make_templates(self, ks: Sequence[int], on: Arrays) -> Array:
        """Return the same of several, made anew where `on` says, (n, h, w)."""

    def mean_weights(self, group: int) -> Array:
        """Return a mask over the sum of its weights, (h, w) float64 on the host."""


class TileWorker(Protocol):
    """The primitives of the tiled correlation on one device, used by one host thread.

    Arrays stay on the device. Precisions are "single" and "double"; double is for tiles whose grey levels span too much
    for single precision. Scores and indices are float32 and int32 always.
    """

    arrays: Arrays
    """Where its arrays live."""

    def do(self, make: Callable[[], Result]) -> Result:
        """Return what `make` computes on the device's arrays; it may be called again when memory ran out."""

    def spectrum(self, block: Array, precision: str) -> Array:
        """Return the spectrum of a tile, an array of the device (fy, fx); halves or whole ones, as the device likes."""

    def template_spectra(self, bank: Blocks, ks: Sequence[int], precision: str) -> Array:
        """Return the conjugated spectra of a bank's templates `ks`."""

    def mask_spectra(self, bank: Blocks, groups: Sequence[int], precision: str) -> Array:
        """Return the conjugated spectra of a bank's masks over the sums of their weights."""

    def reciprocal_sigma(
        self,
        tile: Array,
        squares: Array,
        masks: Array,
        rects: Sequence[Rect],
        valid: tuple[int, int],
        floor: float,
        precision: str,
    ) -> list[Array]:
        """Return 1 / local standard deviation under each mask, 0 where it is below `floor`.

        Parameters
        ----------
        tile, squares : half-spectra of the tile's grey levels and of their squares
        masks : conjugated spectra of weights / N, with a tile over fy fx
        rects : where templates under each mask are scored
        valid : (height, width) of the positions that the tile's transform gives without wrap-around
        floor : standard deviation that counts as none

        Returns
        -------
        list of (height, width) float32
            A device may put into them what makes it pass over positions outside of the rects.
        """

    def score(
        self,
        tile: Array,
        templates: Array,
        ks: Sequence[int],
        sigmas: Sequence[Array],
        rects: Sequence[Rect],
        maps: Sequence[Array],
        guard: AbstractContextManager[Any],
        precision: str,
    ) -> None:
        """Correlate each template with the tile, scale, and raise the maps where a score is larger.

        Parameters
        ----------
        ks : ascending
            Full-bank numbers; the smaller one keeps a tie, also with what the maps hold.
        sigmas : of (height, width)
            One for each template, or a single one that all share.
        rects
            Where each template is scored.
        maps : score (float32) and index (int32), (height, width); optionally a second pair
            Of the device: from new_maps, or a part of arrays that the CPU's workers share. The second pair is of the
            inverted contrast: the largest negated score, and its rotated template.
        guard : context manager
            To be held while the maps are touched.
        """

    def new_maps(self, shape: tuple[int, int], pairs: int) -> tuple[Array, ...]:
        """Return 1 or 2 pairs of a score map of -2, below every score (float32), and an index map of -1 (int32)."""

    def to_host(self, array: Array) -> Array:
        """Return the array as a NumPy array."""


class BasisWorker(TileWorker, Protocol):
    """A worker that gives the correlations themselves, as the compressed search needs them."""

    def image_spectra(self, images: Images, numbers: Sequence[int], precision: str) -> Array:
        """Return the conjugated spectra of some images."""

    def correlations(self, tile: Array, templates: Sequence[Array], rect: Rect, out: Array, precision: str) -> None:
        """Write the correlations of spectra with the tile at the positions of `rect`, (n, height, width)."""


class Device(Protocol):
    """A CPU or a GPU, as one item of `--devices`."""

    name: str
    threads: int
    """Host threads that serve it, each with its own worker."""
    cores: int
    """CPU cores that it keeps busy."""
    tiling: Tiling
    """Which tiles suit it."""
    keeps_maps: bool
    """Whether a worker holds its maps until the end, as GPUs do, or updates those of the search at once."""

    def worker(self, fft_shape: tuple[int, int]) -> TileWorker:
        """Return a worker for the calling thread.

        Raises
        ------
        DeviceError
            The device cannot be used.
        """

    def describe(self) -> dict[str, Any]:
        """Return what run.json says about the device."""


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
