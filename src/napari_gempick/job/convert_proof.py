"""Prove what a conversion wrote, on some micrographs of the data set, before the files get their names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick.engine.proof import Proof
from napari_gempick.job.prove import Prover, not_verifiable, read_back, refuse_wrong, spread
from napari_gempick.model.errors import GempickError
from napari_gempick.model.orientation import Orientation
from napari_gempick.model.settings import make_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.engine.evidence import Evidence
    from napari_gempick.io.formats import PicksInfo
    from napari_gempick.job.convert import Conversion
    from napari_gempick.job.convert_parts import Part
    from napari_gempick.model.picks import Picks, Places

class ConversionProof:
    """The check that `OutputFiles.write` makes; `proof` is what came out, None where none was asked for.

    Parameters
    ----------
    output : Path
        For messages.
    conversion : Conversion
    run_settings : dict or None
        Of the run whose results are converted.
    parts, sets
        What is written for each micrograph.
    """

    def __init__(
        self,
        output: Path,
        conversion: Conversion,
        run_settings: dict[str, Any] | None,
        parts: Sequence[Part],
        sets: Sequence[tuple[Picks, PicksInfo]],
    ) -> None:
        self._output, self._conversion, self._run_settings = output, conversion, run_settings
        self._parts, self._sets = parts, sets
        self.proof: Proof | None = None

    def __call__(self, files: Sequence[Path]) -> None:
        """Read `files` back and look at the micrographs.

        Raises
        ------
        ProofError
            The coordinates are wrong.
        GempickError
            Templates were given that cannot be used.
        """
        given = self._conversion.templates
        if not self._conversion.proof:
            return
        if given is None and self._run_settings is None:
            self.proof = Proof("not verifiable", why="there are no templates to look with, give --templates")
            return
        try:
            # the pixel size of the run need not be that of the micrographs that the result refers to
            prover = Prover(given or make_settings({**(self._run_settings or {}), "pixel_size": None}))
        except GempickError as error:
            if given is not None:
                raise
            self.proof = not_verifiable(error)
            return
        for header in (False, True):
            try:
                self.proof = self._look(prover, files, header=header)
            except GempickError as error:
                self.proof = self.proof or not_verifiable(error)
            if self.proof.state != "not verifiable":
                break
        assert self.proof is not None
        refuse_wrong(self.proof, self._output, self._remedy(self.proof))

    def _look(self, prover: Prover, files: Sequence[Path], *, header: bool) -> Proof:
        """Compare some micrographs; their pixel size is that of the coordinates, or that of their headers.

        The two differ where coordinates of binned micrographs are taken for those of the full ones.
        """
        seen: list[tuple[Evidence, Places | None]] = []
        box = pixel_size = None
        there = [self._micrograph(number) is not None for number in range(len(self._sets))]
        for number in spread(self._sets, there):
            path, (_, info) = self._micrograph(number), self._sets[number]
            assert path is not None
            evidence = prover.evidence(path, None if header else info.pixel_size)
            seen.append((evidence, read_back(files, self._conversion.to.name, self._sets, number, evidence.shape)))
            box, pixel_size = info.box_size, evidence.pixel_size
        if pixel_size is None:
            return Proof("not verifiable", why="the micrographs are not at hand, give --micrographs")
        return prover.prove(seen, box, pixel_size)

    def _micrograph(self, number: int) -> Path | None:
        """Return the file of the micrograph that the result refers to."""
        part = self._parts[number]
        same = self._conversion.orientation == Orientation()
        known = part.target if part.target is not None else part.known if same else None
        if known is None:
            return None
        path = known.path or Path(known.name)
        return path if path.is_file() else None

    def _remedy(self, proof: Proof) -> str:
        """Return what to do, in the options that were given already."""
        done, found = self._conversion.orientation, proof.reading
        if done == Orientation() or found.orientation == Orientation():
            return f"{found.fix} (the coordinates fit when read {found.name})"
        options = done.then(found.orientation).options
        return f"use {options} in place of {done.options}" if options else f"leave out {done.options}"
