"""Prepare a micrograph and its templates for the search, as the settings say.

Exclusion masks are read from files, or found in the micrographs and kept in the output folder; edited ones come first.
"""

from __future__ import annotations

import glob
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.engine.picking.exclusion import find_exclusion
from napari_gempick.engine.preprocess.defects import LEAST, OUTLIER_SIGMA, replace_defects
from napari_gempick.engine.preprocess.fourier_filters import Averaging, CtfTransfer, Whitening, product
from napari_gempick.engine.preprocess.prepare import remove_gradient, remove_hot_pixels
from napari_gempick.inputs.views import read_image
from napari_gempick.io.ctf import CtfTable
from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.images.row_order import is_tiff
from napari_gempick.io.names import split_suffix
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.values import AUTO

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_gempick.engine.matching.read_ahead import Source
    from napari_gempick.engine.preprocess.fourier_filters import Transfer
    from napari_gempick.io.ctf import GrowingCtf
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.settings import PickSettings

_ORDERS = {"plane": 1, "quadratic": 2}


class Preparation:
    """Prepares micrographs after the settings.

    Parameters
    ----------
    ctf : GrowingCtf, optional
        The CTFs, in the place of the file or folder of the settings.

    Raises
    ------
    InputError
        The file or folder with the CTFs cannot be read.
    """

    def __init__(self, settings: PickSettings, ctf: GrowingCtf | None = None) -> None:
        self._settings = settings
        self._table = ctf or (None if settings.ctf is None else CtfTable(Path(settings.ctf)))

    def ctf_of(self, path: Path) -> Ctf | None:
        """Return the CTF of a micrograph's group; None without --ctf.

        Raises
        ------
        InputError
            It does not have the micrograph.
        """
        if self._table is None:
            return None
        ctf = self._table.of(path)
        # RELION and CTFFIND (cisTEM, tiff_file.cpp) turn a TIFF upside down: so is the direction of their astigmatism
        ctf = replace(ctf, angle=-ctf.angle % 180) if is_tiff(path) else ctf
        return ctf.grouped(self._settings.ctf_step)

    def group(self, path: Path) -> str:
        """Return a key that micrographs with the same CTF share; "" without one that can be used."""
        try:
            return "" if self._table is None else repr(self.ctf_of(path))
        except InputError:  # said when the micrograph is read
            return ""

    def clean(
        self, image: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], tuple[str, ...], NDArray[np.bool_] | None]:
        """Clean a micrograph (ny, nx); also return sentences for the user, and where pixels were defects (if any)."""
        settings = self._settings
        image, found = replace_defects(image, LEAST if settings.defects == "replace" else OUTLIER_SIGMA)
        notes: tuple[str, ...] = () if found is None else (found.sentence(),)
        if settings.hot_pixels is not None:
            image, hot = remove_hot_pixels(image, settings.hot_pixels)
            notes = (*notes, f"{hot} hot pixels were replaced by their neighbours' median.") if hot else notes
        if settings.gradient != "off":
            image = remove_gradient(image, _ORDERS[settings.gradient])
        return image, notes, None if found is None else found.where

    @property
    def has_filters(self) -> bool:
        """Whether `filters` gives any, so that a search needs more of a micrograph than its clean pixels."""
        return self._settings.averaging > 0 or self._settings.whiten or self._settings.ctf is not None

    def filters(
        self, pixel_size: float, image: NDArray[np.float32] | None = None, ctf: Ctf | None = None
    ) -> tuple[Transfer | None, Transfer | None]:
        """Return the filters of micrographs, and those of templates, which have the CTF as well; None without any.

        Parameters
        ----------
        pixel_size : float
            Å; of the micrographs' files.
        image : (ny, nx) float32, optional
            The clean micrograph, whose spectrum `whiten` needs.
        ctf : Ctf, optional
            The micrograph's, which `ctf` needs.

        Raises
        ------
        SettingsError
            A filter needs the micrograph, and there is none.
        """
        settings = self._settings
        if image is None:
            for option, value in (("--ctf", settings.ctf), ("--whiten", settings.whiten)):
                if value:
                    raise SettingsError(
                        f"With {option} the templates are those of a micrograph; name it with --micrograph."
                    )
        averaging = Averaging(settings.averaging, pixel_size) if settings.averaging > 1 else None
        whitening = Whitening.of(image, pixel_size, settings.lowpass) if image is not None and settings.whiten else None
        both = product(averaging, whitening)
        return both, product(both, None if ctf is None else CtfTransfer(ctf, settings.phase_flipped))


FOLDER = "excluded"
"""Below the output folder: the masks that `auto` found."""
EDITED = "excluded_edited"
"""Below the output folder: the masks that were edited by hand, which come before all others."""


def found_mask(folder: Path, micrograph: MicrographFile) -> Path:
    """Return the path of the mask that `auto` finds for a micrograph, below an output folder."""
    return folder / FOLDER / f"{micrograph.output_stem}.mrc.gz"


def edited_mask(folder: Path, micrograph: MicrographFile) -> Path:
    """Return the path of the mask of a micrograph that was edited by hand, below an output folder."""
    return folder / EDITED / f"{micrograph.output_stem}.mrc.gz"


def check_exclusion(settings: PickSettings) -> None:
    """Raise SettingsError when the mask file or a folder of the settings does not exist."""
    exclude, edited = settings.exclude, settings.exclude_edited
    if exclude not in (None, AUTO) and not Path(str(exclude)).exists():
        raise SettingsError(f"--exclude {exclude} does not exist; give a mask, a folder of masks, or auto.")
    if edited is not None and not Path(edited).is_dir():
        raise SettingsError(f"--exclude-edited {edited} is not a folder; give one with masks that were edited.")


def with_exclusion(
    load: Callable[[], Source], folder: Path, micrograph: MicrographFile, diameter: float, *, keep: bool
) -> Callable[[], Source]:
    """Return a loader that also finds the exclusion mask and writes it.

    Parameters
    ----------
    load : callable
        Reads the micrograph.
    folder : Path
        The output folder.
    diameter : float
        The particle's, Å.
    keep : bool
        Leave a mask that is there already, perhaps edited.
    """

    def loaded() -> Source:
        source = load()
        path = found_mask(folder, micrograph)
        if keep and path.exists():
            return source
        excluded = find_exclusion(source.image, diameter / source.grid.pixel_size, source.replaced)
        write_mrc(path, excluded, source.grid.pixel_size)
        share = float(excluded.mean())
        note = f"{100 * share:.0f} % of the micrograph is excluded: padded borders, ice or carbon ({path})."
        return replace(source, notes=(*source.notes, note)) if share >= 0.01 else source

    return loaded


def find_missing(settings: PickSettings, folder: Path, micrograph: MicrographFile, diameter: float) -> None:
    """Find and write the mask that `auto` stands for, where the search was made without it.

    It is the one that a search with these settings would find. Errors as io.images.micrograph.
    """
    path = found_mask(folder, micrograph)
    if settings.exclude != AUTO or path.exists():
        return
    image, grid, *_ = read_image(micrograph.path, settings, micrograph.pixel_size)
    cleaned, _, replaced = Preparation(settings.model_copy(update={"ctf": None})).clean(image)
    excluded = find_exclusion(cleaned, diameter / grid.pixel_size, replaced)
    write_mrc(path, excluded, grid.pixel_size)


def find_edited(settings: PickSettings, folder: Path, micrograph: MicrographFile) -> Path | None:
    """Return the mask of a micrograph that was edited by hand; None without one.

    That in the output folder comes first. In another folder the micrograph may have been listed with other parents.

    Raises
    ------
    InputError
        The folder of the settings is missing, or several masks in it may be meant.
    """
    own = edited_mask(folder, micrograph)
    if own.exists() or settings.exclude_edited is None:
        return own if own.exists() else None
    there = Path(settings.exclude_edited)
    if not there.is_dir():
        raise InputError(f"The folder of edited masks {there} is missing; bring it back, or name another one.", there)
    same = there / f"{micrograph.output_stem}.mrc.gz"
    found = [same] if same.exists() else sorted(there.rglob(glob.escape(same.name)))
    if len(found) > 1:
        raise InputError(
            f"{found[0]} and {found[1]} may both be the edited mask of {micrograph.path}; rename one of them.", there
        )
    return found[0] if found else None


def edited_remarks(settings: PickSettings, folder: Path, micrograph: MicrographFile) -> list[str]:
    """Return what run.json says where a mask that was edited by hand is used; errors as `find_edited`."""
    edited = find_edited(settings, folder, micrograph)
    return [] if edited is None else [f"its exclusion mask was edited by hand ({edited})."]


def read_exclusion(
    settings: PickSettings, folder: Path, micrograph: MicrographFile, shape: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """Return where no pick may lie on a micrograph, (ny, nx) bool; None without a mask.

    Parameters
    ----------
    settings : PickSettings
        `exclude` is a mask file for every micrograph, a folder with one mask for each, of the same stem, or auto; a
        mask that was edited by hand takes its place.
    folder : Path
        The output folder, of masks that were found or edited.
    shape : (ny, nx)
        The micrograph's.

    Raises
    ------
    InputError
        The mask is missing or of another size.
    """
    exclude, edited = settings.exclude, find_edited(settings, folder, micrograph)
    if edited is not None:
        source = edited
    elif exclude is None:
        return None
    elif exclude == AUTO:
        source = found_mask(folder, micrograph)
        if not source.exists():
            raise InputError(f"{source} is missing; pick again with --exclude auto.", source)
    else:
        source = Path(exclude)
    if source.is_dir():
        stem = split_suffix(micrograph.path.name)[0]
        names = sorted(p for p in source.rglob("*") if split_suffix(p.name)[0] == stem and not p.name.startswith("."))
        if not names:
            raise InputError(f"{source} has no exclusion mask named {stem}; add one, or omit --exclude.", source)
        same = [path for path in names if path.relative_to(source).parent == Path(micrograph.output_stem).parent]
        source = (same or names)[0]
    mask = read_micrograph(source, 1.0).data
    if mask.shape != shape:
        raise InputError(
            f"The exclusion mask {source} is {mask.shape[1]} x {mask.shape[0]} pixels but {micrograph.path.name} is "
            f"{shape[1]} x {shape[0]}; give a mask of the micrograph's size.",
            source,
        )
    excluded: NDArray[np.bool_] = np.asarray(mask) != 0
    return excluded
