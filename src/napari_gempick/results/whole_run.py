"""The last step of a run with automatic thresholds: choose them again with the evidence of all micrographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_gempick.engine.picking.run_evidence import RunEvidence
from napari_gempick.io.candidates import read_candidates
from napari_gempick.model.errors import GempickError, OutputError
from napari_gempick.results.thresholds import NOTHING, decide, few_found, is_automatic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.results.folder import Results
    from napari_gempick.verification.prove import MicrographProof

KEPT = ("seconds", "notes", "pixel_size_source", "coverage")
"""Keys of a line of run.json that only the search knows."""


def choose_by_run(
    results: Results,
    settings: PickSettings,
    view_names: tuple[str, ...],
    micrographs: Sequence[MicrographFile],
    rows: dict[str, dict[str, Any]],
    said: Callable[[str], None],
    prove: Callable[[MicrographFile, float], MicrographProof] | None = None,
    stored: Mapping[str, Candidates] | None = None,
) -> list[str]:
    """Choose automatic thresholds with the evidence of the whole run and write the picks again; `rows` get new lines.

    A micrograph borrows from the others what its own evidence leaves open, see engine.evidence_of_run. The order of
    the micrographs does not matter. Nothing happens if no threshold is automatic.

    Parameters
    ----------
    results : Results
        Of the run, each micrograph with its candidates.
    settings : PickSettings
    view_names : tuple of str
    micrographs : sequence of MicrographFile
    rows : dict
        The line of run.json of each micrograph that is done, by the name of its results.
    said : callable
        Receives sentences for the user.
    prove : callable, optional
        Makes the proof of a micrograph with its pixel size (Å). Called for micrographs that had no picks to prove their
        coordinates with.
    stored : mapping of str to Candidates, optional
        Candidates by the name of the results, where they have been read.

    Returns
    -------
    list of str
        The names of the micrographs whose line has changed.
    """
    if not is_automatic(settings, view_names):
        return []
    done = [one for one in micrographs if "error" not in rows.get(one.output_stem, {"error": "not done"})]
    done.sort(key=lambda micrograph: micrograph.output_stem)

    def candidates_of(micrograph: MicrographFile) -> Candidates:
        known = None if stored is None else stored.get(micrograph.output_stem)
        return read_candidates(results.candidates(micrograph)) if known is None else known

    changed: list[str] = []

    def fail(micrograph: MicrographFile, error: GempickError) -> None:
        name = micrograph.output_stem
        rows[name] = {"name": rows[name]["name"], "path": rows[name]["path"], "error": error.sentence}
        said(error.sentence)
        changed.append(name)

    known = []
    for micrograph in done:
        try:
            known.append((micrograph, results.evidence(micrograph, candidates_of)))
        except GempickError as error:
            fail(micrograph, error)
    evidence = RunEvidence([scores for _, scores in known])
    for number, (micrograph, _) in enumerate(known):
        name, before = micrograph.output_stem, rows[micrograph.output_stem]
        try:
            candidates, rates, wrong = candidates_of(micrograph), evidence.rates(number), before.get("wrong", [])
            first = prove is not None and not before["picks"] and min(decide(settings, view_names, rates)) < NOTHING
            proof = prove(micrograph, candidates.pixel_size) if first and prove is not None else None
            row = results.write_picks(micrograph, candidates, proof, rates, wrong)
        except OutputError:
            raise
        except GempickError as error:
            fail(micrograph, error)
            continue
        row = {**row, **{key: before[key] for key in KEPT if key in before}}
        if proof is None:
            row |= {key: before[key] for key in ("proof", "wrong") if key in before}
            row["remarks"] = [*before.get("remarks", [])[: len(wrong)], *row["remarks"]]
        for sentence in row["remarks"]:
            if sentence not in before.get("remarks", []):
                said(sentence)
        if row != before:
            rows[name] = row
            changed.append(name)
    for sentence in few_found([rows[micrograph.output_stem] for micrograph, _ in known]):
        said(sentence)
    return changed
