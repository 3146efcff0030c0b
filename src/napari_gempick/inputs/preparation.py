"""What is done to a micrograph and its templates before the search, as the settings say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gempick.engine.preprocess.ctf import CtfTransfer
from napari_gempick.engine.preprocess.defects import LEAST, OUTLIER_SIGMA, replace_defects
from napari_gempick.engine.preprocess.fourier_filters import Averaging, Whitening, product
from napari_gempick.engine.preprocess.prepare import remove_gradient, remove_hot_pixels
from napari_gempick.io.ctf import CtfTable
from napari_gempick.io.images.frames import is_tiff
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_gempick.engine.preprocess.fourier_filters import Transfer
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.settings import PickSettings

_ORDERS = {"plane": 1, "quadratic": 2}


@dataclass(frozen=True, eq=False)
class Treated:
    """A micrograph after cleaning, and the filters that follow.

    Attributes
    ----------
    image : (ny, nx) float32
    of_micrograph, of_templates : Transfer, optional
        In the micrograph's frame; the templates' has the CTF as well.
    notes : tuple of str
        Sentences for the user.
    replaced : (ny, nx) bool, optional
        Pixels that were defects.
    """

    image: NDArray[np.float32]
    of_micrograph: Transfer | None
    of_templates: Transfer | None
    notes: tuple[str, ...] = ()
    replaced: NDArray[np.bool_] | None = None


class Preparation:
    """Prepares micrographs after the settings.

    Parameters
    ----------
    settings : PickSettings

    Raises
    ------
    InputError
        The file or folder with the CTFs cannot be read.
    """

    def __init__(self, settings: PickSettings) -> None:
        self._settings = settings
        self._table = None if settings.ctf is None else CtfTable(Path(settings.ctf))

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

    def treat(self, image: NDArray[np.float32], pixel_size: float, ctf: Ctf | None) -> Treated:
        """Clean a micrograph (ny, nx) and return the filters for it and its templates."""
        settings = self._settings
        image, found = replace_defects(image, LEAST if settings.defects == "replace" else OUTLIER_SIGMA)
        notes: tuple[str, ...] = () if found is None else (found.sentence(),)
        if settings.hot_pixels is not None:
            image, hot = remove_hot_pixels(image, settings.hot_pixels)
            notes = (*notes, f"{hot} hot pixels were replaced by their neighbours' median.") if hot else notes
        if settings.gradient != "off":
            image = remove_gradient(image, _ORDERS[settings.gradient])
        averaging = Averaging(settings.averaging, pixel_size) if settings.averaging > 1 else None
        whitening = Whitening.of(image, pixel_size, settings.lowpass) if settings.whiten else None
        both = product(averaging, whitening)
        lens = None if ctf is None else CtfTransfer(ctf, settings.phase_flipped)
        return Treated(image, both, product(both, lens), notes, None if found is None else found.where)
