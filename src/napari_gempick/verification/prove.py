"""Prove that coordinate files point at the particles: read them back independently and look at the micrographs."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.engine.preprocess.fourier_filters import CtfTransfer
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import read_views
from napari_gempick.io.atomic import staged
from napari_gempick.io.formats import FORMATS, format_of
from napari_gempick.io.formats.relion import says_from_bottom
from napari_gempick.io.images.micrograph import read_micrograph, require_pixel_size
from napari_gempick.io.images.row_order import from_bottom
from napari_gempick.model.errors import GempickError, ProofError
from napari_gempick.model.geometry import BOX_OVER_DIAMETER
from napari_gempick.model.picks import Places
from napari_gempick.verification.coordinate_check import ENOUGH, Evidence, Proof, prove
from napari_gempick.verification.parsers import read_plainly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_gempick.inputs.preparation import Preparation
    from napari_gempick.inputs.views import View
    from napari_gempick.io.formats import PicksInfo
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.geometry import Shape
    from napari_gempick.model.picks import Picks
    from napari_gempick.model.settings import PickSettings

FIRST, EVERY = 20, 10
"""Of each size, the first 20 micrographs of a run are checked, then one in 10."""
MICROGRAPHS = 8
"""How many of a data set are checked, evenly spaced."""


class Prover:
    """Compares coordinates with micrographs by templates.

    Parameters
    ----------
    settings : PickSettings
        Masks, contrast, pixel sizes; templates where there are no `views`.
    views : list of View, optional
        The templates, in the order of their sections.
    preparation : Preparation, optional
        Knows the CTF of each micrograph; made from the settings where it is not given.

    Raises
    ------
    GempickError
        The templates or masks cannot be used.
    """

    def __init__(
        self, settings: PickSettings, views: list[View] | None = None, preparation: Preparation | None = None
    ) -> None:
        plain = settings.model_copy(update={"angle_step": 0.0, "lowpass": None, "highpass": None})
        self._maker = BankMaker(plain, read_views(plain) if views is None else views, None, preparation)
        self._settings = settings
        self._seen: Counter[Shape] = Counter()

    def is_due(self, shape: Shape) -> bool:
        """Count a micrograph (ny, nx) of a run, and return whether its coordinates are to be checked."""
        before = self._seen[shape]
        self._seen[shape] += 1
        return self._settings.check_coordinates == "all" or before < FIRST or (before - FIRST) % EVERY == EVERY - 1

    def evidence(self, path: Path, pixel_size: float | None = None) -> Evidence:
        """Return a micrograph's file made ready, with its CTF where there is one; errors as io.images.micrograph."""
        micrograph = read_micrograph(path, self._settings.pixel_size or pixel_size)
        return self.evidence_of(micrograph.data, require_pixel_size(micrograph), self.ctf_of(path))

    def ctf_of(self, path: Path) -> Ctf | None:
        """Return the CTF of a micrograph; None where there is none."""
        return self._maker.preparation.ctf_of(path)

    def evidence_of(self, image: NDArray[Any], pixel_size: float, ctf: Ctf | None = None) -> Evidence:
        """Return an image (ny, nx), `pixel_size` in Å, made ready; the templates get the CTF."""
        lens = None if ctf is None else CtfTransfer(ctf, self._settings.phase_flipped)
        make_bank = functools.partial(self._maker, transfer=lens)
        return Evidence(image, pixel_size, make_bank, self._maker.diameter)

    def prove(self, seen: Sequence[tuple[Evidence, Places | None]], box: int | None, pixel_size: float) -> Proof:
        """Compare what files say with the micrographs; without a box size in px it is 1.5 diameters."""
        size = box or BOX_OVER_DIAMETER * self._maker.diameter / pixel_size
        known = self._maker.index.n_sections
        pairs = [(one, _with_known_sections(places, known)) for one, places in seen if places is not None]
        return prove(pairs, size) if pairs else Proof("not verifiable", why="there are no picks")


def _with_known_sections(places: Places, known: int) -> Places:
    """Forget the sections where there are no such templates: other templates were searched."""
    if len(places) and places.section.max() < known:
        return places
    return Places(places.x, places.y, np.full(len(places), np.nan), np.full(len(places), -1))


def spread(sets: Sequence[tuple[Picks, PicksInfo]], there: Sequence[bool]) -> list[int]:
    """Return the numbers of some micrographs with picks, spread evenly, those with enough picks first.

    Parameters
    ----------
    sets : sequence of (Picks, PicksInfo)
        What is written for each micrograph.
    there : sequence of bool
        Which micrographs can be checked.
    """
    some = [number for number, (picks, _) in enumerate(sets) if len(picks) and there[number]]
    some = [number for number in some if len(sets[number][0]) >= ENOUGH] or some
    places = np.unique(np.linspace(0, max(0, len(some) - 1), MICROGRAPHS).astype(int)).tolist()
    return [some[place] for place in places if some]


def read_back(
    files: Sequence[Path], name: str, sets: Sequence[tuple[Picks, PicksInfo]], number: int, shape: Shape
) -> Places | None:
    """Return what files in the format `name`, one for each set or one for all, say of the set `number`."""
    info = sets[number][1]
    parts = read_plainly(files[number] if len(files) == len(sets) else files[0], name, shape)
    path = Path(info.micrograph)
    names = (info.micrograph, str(path.with_suffix("")), path.stem, "")  # some formats have the stem alone
    found = next((parts[known] for known in names if known in parts), None)
    return _from_first_row(found, shape, from_bottom(name, path))


def _from_first_row(places: Places | None, shape: Shape, turned_over: bool) -> Places | None:
    """Return places with y counted from the first row of a micrograph, which may be counted from the last."""
    if places is None or not turned_over:
        return places
    return Places(places.x, shape[0] - 1 - places.y, -places.psi % 360.0, places.section)


class SetProof:
    """Proves the coordinate files of a data set before they get their names; each micrograph is read once.

    Parameters
    ----------
    settings : PickSettings
        With the templates.
    sets : sequence of (Picks, PicksInfo)
        What is written for each micrograph.
    """

    def __init__(
        self, settings: PickSettings, sets: Sequence[tuple[Picks, PicksInfo]], micrographs: Sequence[Path]
    ) -> None:
        self._settings, self._sets, self._micrographs = settings, sets, micrographs
        self._prover: Prover | None = None
        self._evidence: dict[int, Evidence] = {}
        self._known: dict[bytes, Proof] = {}
        self.proofs: dict[str, Proof] = {}

    def check(self, name: str, output: Path, files: Sequence[Path]) -> None:
        """Prove `files` in the format `name`; `output` is for messages.

        Raises
        ------
        ProofError
            The coordinates are wrong.
        """
        try:
            self.proofs[name] = self._prove(name, files)
        except GempickError as error:
            self.proofs[name] = not_verifiable(error)
        refuse_wrong(self.proofs[name], output)

    def _prove(self, name: str, files: Sequence[Path]) -> Proof:
        if self._prover is None:
            self._prover = Prover(self._settings)
        seen = []
        for number in spread(self._sets, [path.is_file() for path in self._micrographs]):
            if number not in self._evidence:
                size = self._sets[number][1].pixel_size
                self._evidence[number] = self._prover.evidence(self._micrographs[number], size)
            evidence = self._evidence[number]
            seen.append((evidence, read_back(files, name, self._sets, number, evidence.shape)))
        if not seen:
            return Proof("not verifiable", why="there are no picks, or their micrographs were not found")
        key = b"".join(b"" if found is None else _almost(found) for _, found in seen)
        if key not in self._known:
            box = self._sets[0][1].box_size
            self._known[key] = self._prover.prove(seen, box, seen[0][0].pixel_size)
        return self._known[key]


def _almost(found: Places) -> bytes:
    """Return a key that is equal for formats that agree except for the last digits, so that one check is enough."""
    return np.round([found.x / 2, found.y / 2, np.nan_to_num(found.psi, nan=-1), found.section]).tobytes()


class MicrographProof:
    """Writes the coordinates of one micrograph in several formats and proves each before it gets its name.

    Parameters
    ----------
    pixel_size : float
        Å.
    image : (ny, nx) array, optional
        Its pixels as the file has them; read where they are not given.
    """

    def __init__(self, prover: Prover, micrograph: Path, pixel_size: float, image: NDArray[Any] | None = None) -> None:
        self._image = image
        self._prover, self._micrograph, self._pixel_size = prover, micrograph, pixel_size
        self._evidence: Evidence | None = None
        self._known: dict[bytes, Proof] = {}
        self.proofs: dict[str, Proof] = {}

    def write(self, name: str, path: Path, picks: Picks, info: PicksInfo) -> None:
        """Write the picks in the format `name`.

        Raises
        ------
        ProofError
            The file does not point at the particles; it was not written.
        """
        with staged([path]) as (temporary,):
            FORMATS[name].write(temporary, picks, info)
            proof = self._prove(temporary, name, info)
            refuse_wrong(proof, path)
        self.proofs[name] = proof

    def _prove(self, path: Path, name: str, info: PicksInfo) -> Proof:
        try:
            if self._evidence is None:
                if self._image is None:
                    self._evidence = self._prover.evidence(self._micrograph, self._pixel_size)
                else:
                    ctf = self._prover.ctf_of(self._micrograph)
                    self._evidence = self._prover.evidence_of(self._image, self._pixel_size, ctf)
            shape = self._evidence.shape
            found = next(iter(read_plainly(path, name, shape).values()), None)
            found = _from_first_row(found, shape, from_bottom(name, self._micrograph))
        except GempickError as error:
            return not_verifiable(error)
        if found is None:
            return Proof("not verifiable", why="there are no picks")
        key = _almost(found)
        if key not in self._known:
            self._known[key] = self._prover.prove([(self._evidence, found)], info.box_size, self._pixel_size)
        return self._known[key]


def refuse_wrong(proof: Proof, path: Path, remedy: str | None = None) -> None:
    """Raise ProofError where coordinates are wrong."""
    if proof.state == "wrong":
        raise ProofError(
            f"{path} was not written because its coordinates are wrong: as written, they correlate with the templates "
            f"only to {proof.written:.2f}, {proof.reading.name} to {proof.other:.2f}; {remedy or proof.reading.fix}.",
            path,
        )


def verify(
    coordinates: Path | str,
    micrograph: Path | str | NDArray[Any],
    settings: PickSettings,
    *,
    format: str | None = None,
    name: str | None = None,
    views: list[View] | None = None,
    box: int | None = None,
) -> Proof:
    """Return whether a coordinate file points at the particles of a micrograph.

    Parameters
    ----------
    coordinates : Path or str
    micrograph : Path, str or (ny, nx) array
        For an array, `settings.pixel_size` is needed.
    settings : PickSettings
        With the templates, unless `views` are given; masks, contrast, pixel sizes.
    format : str, optional
        Of `io.formats.FORMATS`; by default the file tells.
    name : str, optional
        The micrograph's in a file that holds several; by default the first one.
    views : list of View, optional
    box : int, optional
        Size of a box, px.

    Raises
    ------
    GempickError
        A file cannot be used.

    Examples
    --------
    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, diameter=385, angle_step=12, threshold=0.5)
    >>> run = gp.pick_files(settings, "micrograph_002.mrc", "verified")
    >>> gp.verify("verified/micrograph_002_autopick.star", "micrograph_002.mrc", settings).state
    'verified'
    """
    prover = Prover(settings, views)
    if isinstance(micrograph, (str, Path)):
        evidence = prover.evidence(Path(micrograph))
    else:
        evidence = prover.evidence_of(micrograph, settings.pixel_size or 1.0)
    made = format or format_of(coordinates).name
    parts = read_plainly(Path(coordinates), made, evidence.shape)
    found = parts.get(name) if name is not None else next(iter(parts.values()), None)
    if isinstance(micrograph, (str, Path)):
        turned_over = from_bottom(made, micrograph)
    else:
        turned_over = says_from_bottom(coordinates)
    found = _from_first_row(found, evidence.shape, turned_over)
    return prover.prove([(evidence, found)], box, evidence.pixel_size)


def describe_proof(proof: Proof) -> dict[str, Any]:
    """Return a proof as JSON takes it."""
    values = {key: value for key, value in asdict(proof).items() if key in ("state", "picks")}
    numbers = {key: None if np.isnan(getattr(proof, key)) else getattr(proof, key) for key in ("written", "other")}
    return {**values, **numbers, "other_reading": proof.reading.name, "sentence": proof.sentence}


def not_verifiable(error: GempickError) -> Proof:
    """Return the proof that cannot be made because something cannot be read."""
    return Proof("not verifiable", why=error.sentence.rstrip("."))
