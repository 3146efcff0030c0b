"""Searches whose scores benchmarks/gpu.py checks, and those scores in double precision."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.fft

from napari_gempick.engine.preprocess.fourier_filters import CtfTransfer
from napari_gempick.engine.preprocess.prepare import Prepared, prepare
from napari_gempick.engine.templates.bank import Bank, Section
from napari_gempick.engine.templates.masks import ImageMask, ShapeMask
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.geometry import Grid
from napari_gempick.model.score_maps import BankIndex


class Case(NamedTuple):
    """A search: of a micrograph, with a bank, on tiles of a shape (fy, fx), of one view or of all."""

    name: str
    prepared: Prepared
    bank: Bank
    tile: tuple[int, int]
    view: int | None = None

    def ks(self) -> list[int]:
        """Return the numbers of the templates that are searched."""
        ks = np.arange(len(self.bank.index))
        return [int(k) for k in ks if self.view is None or self.bank.index.view(k) == self.view]


def cases(small: bool) -> Iterator[Case]:
    """Yield the searches; `small` ones for a rehearsal."""
    rng = np.random.default_rng(5)
    shape, step, box = ((150, 131), 90, 21) if small else ((1201, 1037), 15, 61)
    tile, oblong = ((64, 96), (96, 64)) if small else ((384, 512), (800, 320))
    noise = rng.standard_normal(shape).astype(np.float32)
    templates = rng.standard_normal((2, box, box)).astype(np.float32)
    grid, index = Grid(shape, 1.0), BankIndex(("view",), (1,), step, 360)
    yy, xx = np.mgrid[:box, :box] - box // 2
    circle = ShapeMask("circle", (box - 2.0, box - 2.0))
    masks = {
        "circle": circle,
        "rectangle": ShapeMask("rectangle", (box - 2.0, 0.6 * box)),
        "soft mask": ImageMask(np.clip((box / 2 - 2 - np.hypot(yy, xx)) / 3, 0, 1).astype(np.float32), 1.0, soft=True),
    }

    def bank(mask: Any = circle, **more: Any) -> Bank:
        return Bank(index, [Section(templates[0], 1.0, mask, "template")], 1.0, **more)

    for name, mask in masks.items():
        yield Case(name, prepare(noise, grid), bank(mask), tile)
    spiked = noise.copy()
    spiked[40:43, 60:63] += 3e4
    yield Case("double precision", prepare(spiked, grid), bank(), tile)
    yield Case("CTF", prepare(noise, grid), bank(transfer=CtfTransfer(Ctf(1500, 1400, 30))), tile)
    yield Case("low-pass, oblong tile", prepare(noise, grid, 8.0), bank(), oblong)
    sections = [Section(one, 1.0, circle, "template") for one in templates]
    views = Bank(BankIndex(("first", "second"), (1, 1), step, 360), sections, 1.0)
    yield Case("one view of two", prepare(noise, grid), views, tile, view=1)


def exact(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest score and the largest negated score at each position, float64, -inf where there is none."""
    prepared, bank = case.prepared, case.bank
    inside = slice(prepared.margin, -prepared.margin or None)
    image = prepared.image[inside, inside].astype(np.float64)
    image -= image.mean()
    box, extent = bank.extent.box, bank.extent
    shape = tuple(scipy.fft.next_fast_len(n + b, real=True) for n, b in zip(image.shape, box, strict=True))
    spectra = [scipy.fft.rfft2(part, s=shape, workers=-1) for part in (image, image * image)]

    def correlate(spectrum, part):
        found = scipy.fft.irfft2(spectrum * np.conj(scipy.fft.rfft2(part, s=shape)), s=shape, workers=-1)
        return np.roll(found, (extent.top, extent.left), (0, 1))[: image.shape[0], : image.shape[1]]

    best = [np.full(image.shape, -np.inf) for _ in range(2)]
    sigma: dict[int, np.ndarray] = {}
    for k in case.ks():
        group = int(bank.group_of[k])
        if group not in sigma:
            mean, square = (correlate(spectrum, bank.mean_weights(group)) for spectrum in spectra)
            sigma = {group: np.sqrt(np.maximum(square - mean * mean, 1e-8))}
        score = correlate(spectra[0], bank.template(k).astype(np.float64)) / sigma[group]
        rows, columns = prepared.grid.scored(bank.groups[group].extent)
        for target, sign in zip(best, (1, -1), strict=True):
            np.maximum(target[rows, columns], sign * score[rows, columns], out=target[rows, columns])
    return best[0], best[1]
