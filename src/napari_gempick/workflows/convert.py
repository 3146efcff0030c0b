"""Carry coordinates from one program's files to another's, and say what happened to them.

Prove what a conversion wrote, on some micrographs of the data set, before the files get their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.evaluation.evaluate import some
from napari_gempick.io.formats import Format, PicksInfo
from napari_gempick.io.formats.base import ASSUMED
from napari_gempick.io.formats.coordinate_set import NO_VIEW, ReadOptions
from napari_gempick.io.formats.relion import PARTICLES, STAR
from napari_gempick.io.micrograph_names import MicrographTable
from napari_gempick.model.errors import GempickError, InputError, SettingsError
from napari_gempick.model.geometry import Orientation
from napari_gempick.model.settings import make_settings
from napari_gempick.results.coordinate_files import OutputFiles, Part, PartReader
from napari_gempick.verification.coordinate_check import Proof
from napari_gempick.verification.prove import Prover, describe_proof, not_verifiable, read_back, refuse_wrong, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_gempick.io.formats.base import Kept
    from napari_gempick.model.geometry import Shape
    from napari_gempick.model.picks import Picks, Places
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.verification.coordinate_check import Evidence

_COMPRESSED = (".gz", ".bz2")


@dataclass(frozen=True)
class Conversion:
    """What to do with coordinates on their way.

    Attributes
    ----------
    to : Format
    source : Format or None
        Of the files to read; by default each file tells.
    orientation : Orientation
        How the grid changes.
    shape : (ny, nx) or None
        Of all micrographs that the result refers to, px; by default each one's is looked up.
    micrographs : Path, str or None
        The micrographs that the result refers to: folder, STAR file, glob, or .cs table of exposures.
    name_table : Path or None
        CSV with the columns name and micrograph.
    box_size : int or None
        Pixels of the result; by default as read.
    allow_unmatched : bool
        Leave out picks of micrographs that are not found, instead of refusing.
    overwrite : bool
        Replace files.
    templates : PickSettings or None
        Templates and masks to prove the result with; by default those of the run whose results are converted.
    proof : bool
        Prove the result if micrographs and templates are known.
    reading : ReadOptions
        How to read the files.
    """

    to: Format
    source: Format | None = None
    orientation: Orientation = field(default_factory=Orientation)
    shape: Shape | None = None
    micrographs: Path | str | None = None
    name_table: Path | None = None
    box_size: int | None = None
    allow_unmatched: bool = False
    overwrite: bool = False
    templates: PickSettings | None = None
    proof: bool = True
    reading: ReadOptions = field(default_factory=ReadOptions)


def convert(inputs: Sequence[Path], output: Path, conversion: Conversion) -> dict[str, Any]:
    """Read coordinates, change their grid, and write them; return the report.

    Parameters
    ----------
    inputs : sequence of Path
        Coordinate files, folders of them, folders of results, or lists of coordinate files (autopick.star).
    output : Path
        A file, or a folder where the format holds one micrograph in a file and there are several.

    Returns
    -------
    dict
        picks_in, picks_out, micrographs, outside (None where no size is known), unmatched (names), without_picks (of
        the micrographs given), failed (path and error), loses and notes (sentences), files, proof (None without).

    Raises
    ------
    ProofError
        The result does not point at the particles, and was not written.
    SettingsError
        Something is missing (a size, a box size), or micrographs are unmatched and may not be.
    InputError
        No input can be read.
    OutputError
        A file is there already, or cannot be written.
    """
    reader = PartReader(
        conversion.source,
        conversion.orientation,
        conversion.shape,
        conversion.micrographs,
        conversion.name_table,
        conversion.reading,
    )
    parts = list(reader.read(inputs))
    if not parts:
        raise InputError(reader.failed[0]["error"], reader.failed[0]["path"])
    matched = [part for part in parts if part.target is not None] if reader.maps_names else parts
    unmatched = [part.known.name for part in parts if part.target is None] if reader.maps_names else []
    if unmatched and not (conversion.allow_unmatched and matched):
        raise SettingsError(_unmatched(unmatched, parts, conversion))
    sets, outside = _sets(matched, conversion)
    if conversion.to is PARTICLES:
        sets = _with_optics(matched, sets, conversion)
    proofs = ConversionProof(output, conversion, reader.run_settings, matched, sets)
    files = _write(output, conversion, matched, sets, proofs)
    known = reader.micrographs.all if reader.micrographs is not None else []
    found = {part.target.name for part in matched if part.target is not None}
    return {
        "to": conversion.to.name,
        "output": str(output),
        "micrographs": len(matched),
        "picks_in": sum(len(part.found.picks) for part in parts),
        "picks_out": sum(len(picks) for picks, _ in sets),
        "outside": outside,
        "unmatched": unmatched,
        "without_picks": sum(one.name not in found for one in known),
        "failed": reader.failed,
        "loses": _loses(matched, conversion.to),
        "notes": [*reader.notes, *_notes(matched, conversion), *_outside_notes(matched, conversion, outside)],
        "files": [str(file) for file in files],
        "proof": None if proofs.proof is None else describe_proof(proofs.proof),
    }


def _write(
    output: Path,
    conversion: Conversion,
    parts: Sequence[Part],
    sets: Sequence[tuple[Picks, PicksInfo]],
    proofs: ConversionProof,
) -> list[Path]:
    named = any(part.target is not None or not part.known.guessed for part in parts)
    sources = [(_stem(part), (part.target or part.known).name, part.file) for part in parts]
    files = OutputFiles(output, conversion.to, sources, named=named)
    return files.write(sets, overwrite=conversion.overwrite, check=proofs)


def _unmatched(unmatched: Sequence[str], parts: Sequence[Part], conversion: Conversion) -> str:
    where = " and ".join(str(given) for given in (conversion.name_table, conversion.micrographs) if given is not None)
    return (
        f"{len(unmatched)} of {len(parts)} micrographs are not in {where}: {some(unmatched)}; check the names, give "
        "--name-table, or add --allow-unmatched to leave them out."
    )


def _stem(part: Part) -> str:
    return part.known.stem if part.target is None else part.target.stem


def _sets(parts: Sequence[Part], conversion: Conversion) -> tuple[list[tuple[Picks, PicksInfo]], int | None]:
    """Return what to write for each micrograph, and how many picks lie outside (None where no size is known)."""
    orientation, sets, outside = conversion.orientation, [], []
    for number, part in enumerate(parts, 1):
        shape = _shape_after(part, conversion)
        if shape is None and orientation.needs_shape:
            raise SettingsError(
                f"The size of {part.known.name} is not known, and flips need it; give --shape NY,NX or --micrographs.",
                part.file,
            )
        picks = orientation.apply(part.found.picks, shape)
        sets.append((picks, _info(part, conversion, shape, number)))
        if shape is not None:
            outside.append(_outside(picks, shape))
    return sets, sum(outside) if outside else None


def _shape_after(part: Part, conversion: Conversion) -> Shape | None:
    """Return (ny, nx) of the micrograph that the result refers to."""
    if conversion.shape is not None:
        return conversion.shape
    target = part.target
    needed = conversion.orientation.needs_shape or conversion.to.needs_shape
    if target is not None and (needed or target.path is None or target.path.suffix not in _COMPRESSED):
        return target.size()
    if part.known.shape is not None:
        return conversion.orientation.shape_after(part.known.shape)
    size = part.known.size() if needed else None
    return None if size is None else conversion.orientation.shape_after(size)


def _outside(picks: Picks, shape: Shape) -> int:
    ny, nx = shape
    inside = (picks.x >= -0.5) & (picks.x < nx - 0.5) & (picks.y >= -0.5) & (picks.y < ny - 0.5)
    return int(np.count_nonzero(~inside))


def _info(part: Part, conversion: Conversion, shape: Shape | None, number: int) -> PicksInfo:
    found, scale, target = part.found, conversion.orientation.scale, part.target or part.known
    box, pixel = found.common("box_size"), found.common("pixel_size") or part.known.pixel_size
    size = conversion.box_size or (None if box is None else round(box * scale))
    return PicksInfo(
        pixel_size=target.pixel_size if part.target and target.pixel_size else pixel and pixel / scale,
        box_size=size or None,
        view_names=found.view_names,
        micrograph=target.name,
        shape=shape,
        number=number,
        micrograph_uid=found.common("micrograph_uid") if target.uid is None else target.uid,
        exposure_group=found.common("exposure_group") if target.group is None else target.group,
        uids=found.extra.get("uid"),
    )


def _with_optics(
    parts: Sequence[Part], sets: Sequence[tuple[Picks, PicksInfo]], conversion: Conversion
) -> list[tuple[Picks, PicksInfo]]:
    """Return the sets with optics and CTF from the micrographs' STAR file, where one was given."""
    table = _table(conversion)
    if table is None:
        return list(sets)
    out = []
    for part, (picks, info) in zip(parts, sets, strict=True):
        ctf, optics = table.find((part.target or part.known).parts) or ({}, {})
        out.append((picks, replace(info, ctf=ctf, optics=optics)))
    return out


def _table(conversion: Conversion) -> MicrographTable | None:
    given = str(conversion.micrographs or "")
    return MicrographTable(Path(given)) if given.lower().endswith(".star") else None


def _loses(parts: Sequence[Part], to: Format) -> list[str]:
    """Return a sentence for each thing that the picks have and the format has not."""
    has: dict[Kept, bool] = dict.fromkeys(to.loses, False)
    for part in parts:
        picks, names = part.found.picks, part.found.view_names
        now: dict[Kept, bool] = {
            "score": bool(np.isfinite(picks.score).any()),
            "class": bool((picks.section >= 0).any()),
            "view": names != (NO_VIEW,),
            "psi": bool(np.isfinite(picks.psi).any()),
            "box size": part.found.common("box_size") is not None,
            "position": bool((picks.x % 1).any() or (picks.y % 1).any()),
            "folder": "/" in _stem(part),
        }
        has = {what: has[what] or now[what] for what in has}
    return [sentence for what, sentence in to.loses.items() if has[what]]


def _notes(parts: Sequence[Part], conversion: Conversion) -> list[str]:
    notes = []
    called = conversion.to is STAR or conversion.to.holds != "micrograph"
    guessed = [part.known.name for part in parts if part.target is None and part.known.guessed]
    if called and guessed:
        notes.append(
            f"The files say only the stems of micrographs; they are called {some(guessed)}: give --micrographs for "
            "their right names."
        )
    if conversion.to is PARTICLES:
        table = _table(conversion)
        assumed = [text for label, (_, text) in ASSUMED.items() if table is None or not table.has(label)]
        if assumed:
            notes.append(
                f"Assumed: {', '.join(assumed)}; give --micrographs with a micrographs STAR file that has the right "
                "values and the CTF."
            )
    keyed = all(part.target is not None and part.target.uid is not None for part in parts)
    if conversion.to.name == "cs" and not keyed and any("micrograph_uid" not in part.found.extra for part in parts):
        notes.append(
            "The numbers (uid) of the micrographs are made up, so cryoSPARC cannot link the picks to its exposures; "
            "give --micrographs with the .cs file of the exposures."
        )
    return notes


def _outside_notes(parts: Sequence[Part], conversion: Conversion, outside: int | None) -> list[str]:
    """Say that picks lie outside, and whether they would not with x and y exchanged."""
    if not outside:
        return []
    exchanged = replace(conversion, orientation=replace(conversion.orientation, swap=not conversion.orientation.swap))
    _, then = _sets(parts, exchanged)
    hint = f" Exchanging x and y (--swap-xy) leaves {then}." if then is not None and then < outside / 2 else ""
    total = sum(len(part.found.picks) for part in parts)
    return [f"Outside their micrographs lie {outside} of {total} picks; check --bin, --swap-xy and the sizes.{hint}"]


class ConversionProof:
    """The check that `OutputFiles.write` makes; `proof` is what came out, None where none was asked for.

    Parameters
    ----------
    output : Path
        For messages.
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
            self.proof = Proof("not verifiable", why="there are no templates to compare with; give --templates")
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
            return Proof("not verifiable", why="the micrographs were not found; give --micrographs")
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
        return f"use {options} in place of {done.options}" if options else f"omit {done.options}"
