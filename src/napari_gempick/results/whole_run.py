"""The output folder of a run as a whole: one run at a time, what an earlier run left there, and its last step.

The last step is to choose automatic thresholds, and to teach a learned score, with the evidence of all micrographs.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from napari_gempick.device.locks import Busy, give_back, take
from napari_gempick.engine.picking.run_evidence import RunEvidence
from napari_gempick.inputs.preparation import EDITED
from napari_gempick.inputs.preparation import FOLDER as EXCLUDED
from napari_gempick.io.atomic import sweep
from napari_gempick.io.candidates import read_candidates
from napari_gempick.model.errors import GempickError, OutputError, SettingsError
from napari_gempick.model.values import LEARNED
from napari_gempick.results.folder import Results
from napari_gempick.results.run_file import micrograph_of, read_run, settings_of
from napari_gempick.results.thresholds import NOTHING, decide, few_found, is_automatic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.results.learned_score import LearnedScore
    from napari_gempick.verification.prove import MicrographProof

_LOCK = ".gempick.lock"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of an output folder for a block; a run that was killed keeps nobody out.

    Raises
    ------
    SettingsError
        Another run is in progress there.
    """
    made = not folder.exists()
    with contextlib.suppress(OSError):  # who writes there says what is wrong
        folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = take(folder / _LOCK)
    except Busy:
        raise SettingsError(
            f"Another run is writing to {folder}; wait until it has finished, or choose another folder.", folder
        ) from None
    try:
        if lock is not None:
            sweep(folder)
        yield
    finally:
        give_back(lock, remove=True)
        if made:
            with contextlib.suppress(OSError):  # what was made for nothing
                folder.rmdir()


def own_folders(folder: Path) -> list[Path]:
    """Return the output folder and those in it that hold images which are not micrographs: where these lie beside."""
    return [folder, *(folder / name for name in ("maps", "candidates", EXCLUDED, EDITED))]


def left_over(folder: Path, kept: Sequence[Path]) -> list[Path]:
    """Return the files that the run of a folder's run.json wrote, as far as they are there and not among `kept`.

    Only what that run must have written itself is among them; nothing is said where run.json cannot be read.
    """
    try:
        run = read_run(folder)
        results = Results(folder, settings_of(folder, run), float(run["diameter"]))
    except GempickError:
        return []
    names = tuple(view["name"] for view in run["views"])
    rows = [micrograph_of(row) for row in run["micrographs"] if "error" not in row]
    listed = dict.fromkeys(path for row in rows for path in results.everything(row, names))
    return [path for path in listed if path not in set(kept) and path.is_file()]


KEPT = ("seconds", "map_bound", "notes", "pixel_size_source", "coverage", "proof", "wrong")
"""Keys of a line of run.json that only the search and its proof know."""


def choose_by_run(
    results: Results,
    settings: PickSettings,
    view_names: tuple[str, ...],
    micrographs: Sequence[MicrographFile],
    rows: dict[str, dict[str, Any]],
    notify: Callable[[str], None],
    prove: Callable[[MicrographFile, float], MicrographProof] | None = None,
    stored: Mapping[str, Candidates] | None = None,
    check: Callable[[], None] = lambda: None,
) -> list[str]:
    """Choose thresholds, and teach a learned score, with the whole run and write the picks again; `rows` get new lines.

    A micrograph borrows from the others what its own evidence leaves open, see engine.picking.run_evidence. The order
    of the micrographs does not matter. Nothing happens if no threshold is automatic and the score is the NCC.

    Parameters
    ----------
    results : Results
        Of the run, each micrograph with its candidates.
    rows : dict
        The line of run.json of each micrograph that is done, by the name of its results.
    notify : callable
        Receives sentences for the user.
    prove : callable, optional
        Makes the proof of a micrograph with its pixel size (Å). Called for micrographs that had no picks to prove their
        coordinates with.
    stored : mapping of str to Candidates, optional
        Candidates by the name of the results, where they have been read, with the score that chooses.
    check : callable
        Called before each micrograph; raises Cancelled to stop.

    Returns
    -------
    list of str
        The names of the micrographs whose line has changed.
    """
    learning = settings.score == LEARNED
    if not (learning or is_automatic(settings, view_names)):
        return []
    done = [one for one in micrographs if "error" not in rows.get(one.output_stem, {"error": "not done"})]
    done.sort(key=lambda micrograph: micrograph.output_stem)

    learned: LearnedScore | None = None

    def candidates_of(micrograph: MicrographFile, *, decoys: bool = True) -> Candidates:
        if stored is not None:
            return stored[micrograph.output_stem]
        found = read_candidates(results.candidates(micrograph), decoys=decoys)
        return found if learned is None else learned.apply(micrograph, found, results.diameter)

    if learning and stored is None and done:
        from napari_gempick.results.learned_score import learn  # SciPy's optimisers are slow to import

        learned = learn(results, done, candidates_of)
        results.learned = learned.describe()

    changed: list[str] = []

    def fail(micrograph: MicrographFile, error: GempickError) -> None:
        name = micrograph.output_stem
        rows[name] = {"name": rows[name]["name"], "path": rows[name]["path"], "error": error.sentence}
        notify(error.sentence)
        changed.append(name)

    known = []
    for micrograph in done:
        check()
        try:
            known.append((micrograph, results.evidence(micrograph, candidates_of)))
        except GempickError as error:
            fail(micrograph, error)
    evidence = RunEvidence([scores for _, scores in known])
    for number, (micrograph, scores) in enumerate(known):
        check()
        name, before = micrograph.output_stem, rows[micrograph.output_stem]
        try:
            candidates, wrong = candidates_of(micrograph, decoys=False), before.get("wrong", [])
            rates = evidence.rates(number)
            first = prove is not None and not before["picks"] and min(decide(settings, view_names, rates)) < NOTHING
            proof = prove(micrograph, candidates.pixel_size) if first and prove is not None else None
            row = results.write_picks(micrograph, candidates, proof, rates, wrong, scores)
        except OutputError:
            raise
        except GempickError as error:
            fail(micrograph, error)
            continue
        row = {**{key: before[key] for key in KEPT if key in before}, **row}
        if proof is None:
            row["remarks"] = [*before.get("remarks", [])[: len(wrong)], *row["remarks"]]
        for sentence in row["remarks"]:
            if sentence not in before.get("remarks", []):
                notify(sentence)
        if row != before:
            rows[name] = row
            changed.append(name)
    for sentence in few_found([rows[micrograph.output_stem] for micrograph, _ in known]):
        notify(sentence)
    return changed
