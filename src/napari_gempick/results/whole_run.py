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

    from napari_gempick.engine.picking.false_rate import FalseRate
    from napari_gempick.engine.picking.run_evidence import Scores
    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.formats.base import ProvenFiles
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.results.learned_score import LearnedScore

_LOCK = ".gempick.lock"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of an output folder for a block; a killed run leaves no lock behind.

    Raises
    ------
    SettingsError
        Another run is in progress there.
    """
    made = not folder.exists()
    with contextlib.suppress(OSError):  # the first write reports the error
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
            with contextlib.suppress(OSError):  # it was made for this block, and is empty
                folder.rmdir()


def own_folders(folder: Path) -> list[Path]:
    """Return the output folder and those in it that hold images which are not micrographs: where these lie beside."""
    return [folder, *(folder / name for name in ("maps", "candidates", EXCLUDED, EDITED))]


def left_over(folder: Path, kept: Sequence[Path]) -> list[Path]:
    """Return the files that the run of a folder's run.json wrote, that exist and are not among `kept`.

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
    prove: Callable[[MicrographFile, float], ProvenFiles] | None = None,
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
    if not (settings.score == LEARNED or is_automatic(settings, view_names)):
        return []
    done = [one for one in micrographs if "error" not in rows.get(one.output_stem, {"error": "not done"})]
    done.sort(key=lambda micrograph: micrograph.output_stem)
    choice = _ChoiceByRun(results, settings, view_names, rows, notify, stored)
    if settings.score == LEARNED and stored is None and done:
        choice.learn(done)
    known = []
    for micrograph in done:
        check()
        with choice.reported(micrograph):
            known.append((micrograph, results.evidence(micrograph, choice.candidates_of)))
    evidence = RunEvidence([scores for _, scores in known])
    for number, (micrograph, scores) in enumerate(known):
        check()
        with choice.reported(micrograph):
            choice.write(micrograph, scores, evidence.rates(number), prove)
    for sentence in few_found([rows[micrograph.output_stem] for micrograph, _ in known]):
        notify(sentence)
    return choice.changed


class _ChoiceByRun:
    """What `choose_by_run` does with each micrograph; see there.

    Attributes
    ----------
    changed : list of str
        The names of the micrographs whose line has changed.
    """

    def __init__(
        self,
        results: Results,
        settings: PickSettings,
        view_names: tuple[str, ...],
        rows: dict[str, dict[str, Any]],
        notify: Callable[[str], None],
        stored: Mapping[str, Candidates] | None,
    ) -> None:
        self._results, self._settings, self._view_names = results, settings, view_names
        self._rows, self._notify, self._stored = rows, notify, stored
        self._learned: LearnedScore | None = None
        self.changed: list[str] = []

    def learn(self, done: Sequence[MicrographFile]) -> None:
        """Teach the learned score with the micrographs that are done."""
        from napari_gempick.results.learned_score import learn  # SciPy's optimisers are slow to import

        self._learned = learn(self._results, done, self.candidates_of)
        self._results.learned = self._learned.describe()

    def candidates_of(self, micrograph: MicrographFile, *, decoys: bool = True) -> Candidates:
        """Return the candidates of a micrograph, with the learned score where there is one."""
        if self._stored is not None:
            return self._stored[micrograph.output_stem]
        found = read_candidates(self._results.candidates(micrograph), decoys=decoys)
        return found if self._learned is None else self._learned.apply(micrograph, found, self._results.diameter)

    @contextlib.contextmanager
    def reported(self, micrograph: MicrographFile) -> Iterator[None]:
        """Note that a micrograph failed where a block raises an error, unless nothing can be written."""
        try:
            yield
        except OutputError:
            raise
        except GempickError as error:
            name = micrograph.output_stem
            before = self._rows[name]
            self._rows[name] = {"name": before["name"], "path": before["path"], "error": error.sentence}
            self._notify(error.sentence)
            self.changed.append(name)

    def write(
        self,
        micrograph: MicrographFile,
        scores: Scores,
        rates: Sequence[FalseRate],
        prove: Callable[[MicrographFile, float], ProvenFiles] | None,
    ) -> None:
        """Write the picks of a micrograph by the rates that the whole run gives it, and its new line if it differs."""
        name = micrograph.output_stem
        before = self._rows[name]
        candidates, wrong = self.candidates_of(micrograph, decoys=False), before.get("wrong", [])
        proof = None
        if prove and not before["picks"] and min(decide(self._settings, self._view_names, rates)) < NOTHING:
            proof = prove(micrograph, candidates.pixel_size)
        row = self._results.write_picks(micrograph, candidates, proof, rates, wrong, scores)
        row = {**{key: before[key] for key in KEPT if key in before}, **row}
        if proof is None:
            row["remarks"] = [*before.get("remarks", [])[: len(wrong)], *row["remarks"]]
        for sentence in row["remarks"]:
            if sentence not in before.get("remarks", []):
                self._notify(sentence)
        if row != before:
            self._rows[name] = row
            self.changed.append(name)
