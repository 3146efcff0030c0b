"""The full grid in place of a coarser one that would give wrong scores."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_gempick.engine.squares import MOST
from napari_gempick.model.geometry import Grid

if TYPE_CHECKING:
    from napari_gempick.engine.filters import Transfer
    from napari_gempick.engine.prepare import Prepared
    from napari_gempick.job.bank_maker import BankMaker
    from napari_gempick.run.pipeline import Source

ON_FULL_GRID = "It was searched on the full grid: beside pixels so bright or dark a coarser one gives wrong scores."


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
