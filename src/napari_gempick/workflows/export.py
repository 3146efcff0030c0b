"""Write picks that a person has chosen: any formats, for every micrograph, with the list of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_gempick.io.formats import PicksInfo, format_named
from napari_gempick.io.images.row_order import from_bottom, row_order_note
from napari_gempick.io.micrograph_names import shown
from napari_gempick.model.errors import ProofError
from napari_gempick.results.coordinate_files import OutputFiles
from napari_gempick.verification.prove import SetProof

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.geometry import Shape
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.verification.coordinate_check import Proof


@dataclass(frozen=True, eq=False)
class Chosen:
    """The picks of one micrograph.

    Attributes
    ----------
    picks : Picks
        Best first.
    shape : (ny, nx)
        Of the micrograph, px.
    pixel_size : float
        Å.
    box_size : int
        px.
    """

    file: MicrographFile
    picks: Picks
    view_names: tuple[str, ...]
    shape: Shape
    pixel_size: float
    box_size: int


@dataclass(frozen=True)
class Written:
    """What was exported.

    Attributes
    ----------
    proofs : dict of str to Proof
        By format.
    wrong : dict of str to str
        Formats that were not written, because their coordinates are wrong, and the sentence of each.
    frame : str
        The sentence about files that count y from the last row of TIFF micrographs; "" where none does.
    """

    paths: list[Path]
    proofs: dict[str, Proof] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    frame: str = ""


def planned(folder: Path, chosen: Sequence[Chosen], formats: Sequence[str]) -> list[Path]:
    """Return the files that `export_picks` would write."""
    return [path for name in formats for path in _files(folder, chosen, name).paths]


def export_picks(
    folder: Path,
    chosen: Sequence[Chosen],
    formats: Sequence[str],
    *,
    overwrite: bool = False,
    templates: PickSettings | None = None,
) -> Written:
    """Write the picks of all micrographs in every format.

    Parameters
    ----------
    folder : Path
        Keeps the folder structure of the micrographs.
    formats : sequence of str
        Names of io.formats.FORMATS.
    overwrite : bool
        Replace files.
    templates : PickSettings, optional
        Settings with the templates that files are proved by; a format that proves wrong is not written.

    Raises
    ------
    OutputError
        A file is there already, or cannot be written.
    """
    sets = [
        (c.picks, PicksInfo(c.pixel_size, c.box_size, c.view_names, shown(c.file.path), c.shape, number))
        for number, c in enumerate(chosen, 1)
    ]
    proof = None if templates is None else SetProof(templates, sets, [c.file.path for c in chosen])
    paths: list[Path] = []
    wrong: dict[str, str] = {}
    for name in formats:
        files = _files(folder, chosen, name)
        if proof is None:
            paths += files.write(sets, overwrite=overwrite)
            continue
        try:
            paths += files.write(sets, overwrite=overwrite, check=functools.partial(proof.check, name, files.paths[0]))
        except ProofError as error:
            wrong[name] = error.sentence
    written = [name for name in formats if name not in wrong]
    turned = [name for name in written if any(from_bottom(name, c.file.path) for c in chosen)]
    return Written(paths, {} if proof is None else proof.proofs, wrong, row_order_note(turned) if turned else "")


def _files(folder: Path, chosen: Sequence[Chosen], name: str) -> OutputFiles:
    sources = [(c.file.output_stem, shown(c.file.path), c.file.path) for c in chosen]
    folder.mkdir(parents=True, exist_ok=True)  # so that a folder with a dot in its name is taken for one
    return OutputFiles(folder, format_named(name), sources, named=True)
