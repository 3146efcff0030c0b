"""The search images of a run, written for inspection."""

from __future__ import annotations

import functools
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.preprocess.fourier_filters import Averaging
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.sources import loader
from napari_gempick.inputs.views import choose_grid, read_views
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import write_tables
from napari_gempick.model.errors import SettingsError
from napari_gempick.workflows.template_files import refuse_existing

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.engine.templates.bank import Bank
    from napari_gempick.model.settings import PickSettings

_FIELD = (4096, 4096)
MOST = 20_000
"""Search images of a view that are written."""


def rotate_files(
    settings: PickSettings,
    folder: Path,
    *,
    micrograph: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Write NAME_templates.mrcs and NAME_masks.mrcs for each view, and NAME.star with k, section and psi.

    A template is written as the search correlates it, (T - mu) M / (N sT), on the searched grid; those that the search
    skips for symmetry are left out.

    Parameters
    ----------
    settings : PickSettings
        `pixel_size` (Å) is that of the micrographs; default that of the templates.
    folder : Path
    micrograph : Path, optional
        Gives its pixel size, its CTF (needed with `ctf`) and its spectrum (needed with `whiten`).
    overwrite : bool
    progress : callable, optional
        Called with the share that is done.

    Raises
    ------
    GempickError
        The templates cannot be used, a file exists already, or a view has more than 20,000 search images.
    """
    views = read_views(settings)
    if micrograph is None:
        for option, value in (("--ctf", settings.ctf), ("--whiten", settings.whiten)):
            if value:
                raise SettingsError(
                    f"With {option} the templates are those of a micrograph; name it with --micrograph."
                )
        if settings.pixel_size is None:
            settings = settings.model_copy(update={"pixel_size": views[0].pixel_size})
        assert settings.pixel_size is not None
        makers = BankMaker(settings, views)
        grid = choose_grid(settings, _FIELD, settings.pixel_size)
        averaging = Averaging(settings.averaging, settings.pixel_size) if settings.averaging > 1 else None
        make_bank: Callable[[], Bank] = functools.partial(makers, grid, averaging)
    else:
        makers = BankMaker(settings, views)
        source = loader(MicrographFile(micrograph, PurePosixPath(micrograph.name)), settings, makers)
        assert source.bank is not None
        grid, make_bank = source.grid, source.bank
    paths = {name: [folder / f"{name}{end}" for end in ("_templates.mrcs", "_masks.mrcs", ".star")]
             for name in makers.index.view_names}  # fmt: skip
    refuse_existing([path for of_view in paths.values() for path in of_view], overwrite)
    bank = make_bank()
    k = np.nonzero(bank.index.searched())[0].astype(np.int32)
    view_of_k, done = bank.index.view(k), 0
    made: dict[str, Any] = {}
    for view, (name, (templates, masks, star)) in enumerate(paths.items()):
        mine = k[view_of_k == view]
        if len(mine) > MOST:
            raise SettingsError(f"View {name} has {len(mine)} search images; write fewer than {MOST} (--angle-step).")
        stack = np.empty((2, len(mine), *bank.extent.box), np.float32)
        for row, number in enumerate(mine.tolist()):
            stack[0, row] = bank.template(number)
            stack[1, row] = bank.mask(int(bank.group_of[number]))
            done += 1
            if progress is not None:
                progress(done / len(k))
        for path, data in zip((templates, masks), stack, strict=True):
            write_mrc(path, data, grid.map_pixel_size, stack=True)
        columns = {
            "rlnImageName": [f"{row + 1:06d}@{templates}" for row in range(len(mine))],
            "gempickSearchImage": [str(number) for number in mine.tolist()],
            "rlnClassNumber": [str(section + 1) for section in bank.index.section(mine).tolist()],
            "rlnAnglePsi": [f"{psi:.6g}" for psi in bank.index.psi(mine).tolist()],
        }
        write_tables(star, {"particles": columns})
        made[name] = {"templates": str(templates), "masks": str(masks), "star": str(star), "search_images": len(mine)}
    return {
        "notes": [note for view in views for note in view.notes],
        "views": made,
        "pixel_size": grid.map_pixel_size,
        "grid_ratio": str(Fraction(grid.ratio)),
        "box": list(bank.extent.box),
        "centre": [bank.extent.top, bank.extent.left],
        "masks_in_all": len(bank.groups),
    }
