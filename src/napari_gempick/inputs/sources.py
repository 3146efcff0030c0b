"""What the search of one micrograph needs, and the full grid in place of a coarser one that would give wrong scores."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_gempick.engine.matching.read_ahead import Source
from napari_gempick.engine.preprocess.prepare import MOST
from napari_gempick.inputs.views import read_image
from napari_gempick.model.geometry import Grid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_gempick.engine.preprocess.fourier_filters import Transfer
    from napari_gempick.engine.preprocess.prepare import Prepared
    from napari_gempick.inputs.bank_maker import BankMaker
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.settings import PickSettings

ON_FULL_GRID = "It was searched on the full grid, because very bright or dark pixels spoil the scores on a coarser one."


def with_full_grid(source: Source, makers: BankMaker, of_templates: Transfer | None = None) -> Source:
    """Return a source that is searched on the full grid where a coarser one would give wrong local variances."""
    grid = source.grid

    def instead(prepared: Prepared) -> Source | None:
        if prepared.squares is None or prepared.squares.error(makers.unturned(grid), grid) <= MOST:
            return None
        whole = Grid(grid.file_shape, grid.pixel_size)
        bank = functools.partial(makers.on_full_grid(grid), whole, of_templates)
        notes = (*source.notes, ON_FULL_GRID)
        return replace(source, grid=whole, bank=bank, notes=notes, instead=None, refine=makers.refines(whole))

    return replace(source, instead=instead) if grid.ratio > 1 else source


def loader(micrograph: MicrographFile, settings: PickSettings, makers: BankMaker) -> Source:
    """Read one micrograph for the search; errors as io.images.micrograph."""
    image, grid, notes, raw = read_image(micrograph.path, settings, micrograph.pixel_size)
    ctf = makers.preparation.ctf_of(micrograph.path)
    return replace(source_of(image, grid, settings, makers, ctf, notes), raw=raw)


def source_of(
    image: NDArray[np.float32],
    grid: Grid,
    settings: PickSettings,
    makers: BankMaker,
    ctf: Ctf | None = None,
    notes: tuple[str, ...] = (),
) -> Source:
    """Return what the search of a micrograph (ny, nx) needs."""
    treated = makers.preparation.treat(image, grid.pixel_size, ctf)
    bank = functools.partial(makers, grid, treated.of_templates)
    notes = (*notes, *treated.notes)
    filters = makers.lowpass(grid), settings.highpass, notes, treated.of_micrograph
    source = Source(treated.image, grid, *filters, bank, replaced=treated.replaced, refine=makers.refines(grid))
    return with_full_grid(source, makers, treated.of_templates)
