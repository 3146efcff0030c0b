"""Pick a list of micrographs into a folder."""

from __future__ import annotations

import contextlib
import logging
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_gempick.device.discover import open_devices
from napari_gempick.device.plan import PlanStore
from napari_gempick.engine.matching.choice import Wanted
from napari_gempick.engine.matching.pipeline import Outcome, Progress, search_all
from napari_gempick.engine.matching.stage_times import StageTimes
from napari_gempick.engine.matching.workers import DevicePool
from napari_gempick.inputs.bank_maker import BankMaker, loader
from napari_gempick.inputs.preparation import Preparation, check_exclusion, with_exclusion
from napari_gempick.inputs.views import read_views
from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.images.micrograph import LIST
from napari_gempick.io.listing import MicrographFile, as_micrographs
from napari_gempick.io.names import check_micrograph_name
from napari_gempick.model.errors import GempickError, InputError, OutputError, printable
from napari_gempick.model.values import AUTO
from napari_gempick.results.folder import Results
from napari_gempick.results.log_file import log_facts, logged, logged_in
from napari_gempick.results.run_file import FROM_BOTTOM, columns_of, earlier_rows, formats_of, micrograph_of, run_notes
from napari_gempick.results.thresholds import candidate_floor
from napari_gempick.results.whole_run import alone_in, choose_by_run, left_over
from napari_gempick.verification.prove import MicrographProof, Prover

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterable, Sequence

    from napari_gempick.device.base import Device
    from napari_gempick.engine.matching.read_ahead import Source
    from napari_gempick.io.ctf import GrowingCtf
    from napari_gempick.model.settings import PickSettings

LOG = logging.getLogger(__name__)
LOGGED = "name", "picks", "best_score", "thresholds", "estimated_fdr", "seconds", "map_bound", "proof"
"""What the log says about a micrograph."""


def pick_files(
    settings: PickSettings,
    micrographs: str | Path | Sequence[str | Path] | Sequence[MicrographFile],
    folder: Path | str,
    *,
    overwrite: bool = False,
    resume: bool = False,
    keep_others: bool = False,
    cancel: threading.Event | None = None,
    progress: Callable[[Progress], None] | None = None,
    notes: Sequence[str] = (),
    notify: Callable[[str], None] = lambda sentence: None,
    finished: Callable[[dict[str, Any]], None] = lambda row: None,
    stage: Callable[[str], None] = lambda text: None,
    devices: Sequence[Device] | None = None,
) -> dict[str, Any]:
    """Pick every micrograph into `folder` and return what run.json says.

    Parameters
    ----------
    settings : PickSettings
    micrographs : path or sequence of paths
        Files, folders, globs or RELION's lists, as on the command line; or a sequence of MicrographFile.
    folder : Path or str
        Gets STEM_autopick.star and candidates/STEM.star for each micrograph, autopick.star and run.json.
    overwrite, resume : bool
        Replace earlier results, or keep those of micrographs that are done.
    keep_others : bool
        With `overwrite`: micrographs of an earlier run that are not picked now stay in run.json and the index.
    cancel, progress
        See engine.matching.pipeline.search_all.
    notes : sequence of str
        Sentences about the list of micrographs, for run.json.
    notify : callable
        Receives sentences for the user: notes, and micrographs that failed.
    finished : callable
        Receives each micrograph's line of run.json when its files are written.
    stage : callable
        Receives a few words about each step before the first rotated template.
    devices : sequence of Device, optional
        Instead of those that the settings name.

    Raises
    ------
    GempickError
        Nothing can be done: settings, templates, output folder, devices.

    Examples
    --------
    >>> settings = gp.PickSettings(templates={"top": "template_top.mrc"}, mask={"top": "mask_top.mrc"}, threshold=0.5)
    >>> run = gp.pick_files(settings, "micrograph_002.mrc", "picks")
    >>> [row["picks"] > 0 for row in run["micrographs"]]
    [True]
    """
    folder, files, notify = Path(folder), as_micrographs(micrographs), logged(notify, LOG)
    with alone_in(folder), logged_in(folder, "pick"):
        how: dict[str, Any] = {"overwrite": overwrite, "resume": resume, "cancel": cancel, "notes": notes}
        work = Picking(settings, folder, **how, notify=notify, stage=stage, devices=devices)
        results, makers = work.results, work.makers
        mine = {micrograph.output_stem for micrograph in files}
        others = [row for row in earlier_rows(folder) if row["name"] not in mine] if keep_others else []
        rows: dict[str, dict[str, Any]] = {}
        todo = []
        for micrograph in files:
            row = work.refused(micrograph) or work.kept(micrograph)
            if row is None:
                todo.append(micrograph)
            else:
                rows[micrograph.output_stem] = row
        todo.sort(key=lambda micrograph: makers.preparation.group(micrograph.path))  # of equal CTF after one another

        def write_run(state: str) -> dict[str, Any]:
            return work.write_run(state, [*others, *(rows[m.output_stem] for m in files if m.output_stem in rows)])

        replaced = left_over(folder, ()) if overwrite and not keep_others else []
        write_run("running")
        stage("preparing micrograph and transforms")
        state = "stopped"
        try:
            searches = work.search([work.loader(m, keep=resume) for m in todo], progress, cancel)
            with contextlib.closing(searches):  # a traceback would keep it, and its threads, alive
                for outcome in searches:
                    micrograph = todo[outcome.number]
                    rows[micrograph.output_stem] = row = work.finish(micrograph, outcome)
                    finished(row)
            for name in choose_by_run(results, settings, makers.index.view_names, files, rows, notify, work.proof):
                finished(rows[name])
            state = "complete"
            new = {path for m in files for path in results.everything(m, makers.index.view_names)}
            for old in set(replaced) - new:
                old.unlink(missing_ok=True)
        finally:
            results.write_index([*(micrograph_of(row) for row in others), *files])
            run = write_run(state)
        work.conclude(run)
        return run


class Picking:
    """What picking a list of micrographs and picking them as they arrive have in common.

    Parameters
    ----------
    settings, folder, overwrite, resume, notes, notify, stage, devices
        See pick_files.
    cancel : threading.Event, optional
        Set it to stop: making templates then raises Cancelled.
    ctf : GrowingCtf, optional
        In the place of the file of `settings.ctf`.

    Attributes
    ----------
    rested : bool
        There were times without a micrograph to search.

    Raises
    ------
    GempickError
        Nothing can be done: settings, templates, output folder, devices.
    """

    def __init__(
        self,
        settings: PickSettings,
        folder: Path,
        *,
        overwrite: bool = False,
        resume: bool = False,
        cancel: threading.Event | None = None,
        notes: Sequence[str] = (),
        notify: Callable[[str], None],
        stage: Callable[[str], None] = lambda text: None,
        ctf: GrowingCtf | None = None,
        devices: Sequence[Device] | None = None,
    ) -> None:
        self.settings, self.folder, self.notes = settings, folder, list(notes)
        self._notify = notify
        formats_of(settings)
        stage("reading templates")
        preparation = Preparation(settings, ctf)
        self.makers = makers = BankMaker(settings, read_views(settings), cancel, preparation)
        settings.thresholds.of(makers.index.view_names)
        check_exclusion(settings)
        self._prover = Prover(settings, makers.views, preparation)
        self.results = Results(folder, settings, makers.diameter, growing=ctf is not None)
        self._views = makers.record()
        earlier = self.results.prepare(self._views, overwrite=overwrite, resume=resume)
        self._resumed = earlier is not None
        self.earlier: dict[str, dict[str, Any]] = {row["name"]: row for row in (earlier or {}).get("micrographs", [])}
        self._plans = PlanStore()
        stage("opening devices")
        self._pool = DevicePool(devices or open_devices(settings.devices, settings.threads, self._plans))
        self._times = StageTimes()
        self.rested = False
        log_facts(
            settings=settings.model_dump(mode="json", exclude_defaults=True),
            notes=self.notes,
            views=self._views,
            search_images=len(makers.index),
            angle_step=makers.index.angle_step,
            devices=[device.describe() for device in self._pool.devices],
        )
        self._hints = makers.hints()
        self._costly = makers.step_notes()
        for sentence in self._costly:
            notify(sentence)

    def refused(self, micrograph: MicrographFile) -> dict[str, Any] | None:
        """Return the line of run.json of a micrograph whose name cannot be written, None for any other."""
        try:
            check_micrograph_name(str(micrograph.path), micrograph.stem)
        except InputError as error:
            self._notify(error.sentence)
            name, path = printable(micrograph.output_stem), printable(str(micrograph.path))
            return {"name": name, "path": path, "error": error.sentence}
        return None

    def kept(self, micrograph: MicrographFile, *, read: bool = True) -> dict[str, Any] | None:
        """Return the line of run.json of a micrograph that an earlier run has done, None where it did not.

        Without `read`, files that run.json has are not read again.
        """
        results, row = self.results, self.earlier.get(micrograph.output_stem)
        stale = row is None or "error" in row or row.get(FROM_BOTTOM, []) != results.from_bottom(micrograph)
        names = None if read or stale else self.makers.index.view_names
        if not self._resumed or not results.is_done(micrograph, names):
            return None
        if row is None or stale:  # finished just before the earlier run was killed
            candidates = read_candidates(results.candidates(micrograph))
            row = results.write_picks(micrograph, candidates, self.proof(micrograph, candidates.pixel_size))
        LOG.info("%s: kept from an earlier run", micrograph.output_stem)
        return row

    def proof(self, micrograph: MicrographFile, pixel_size: float) -> MicrographProof:
        """Return the proof of a micrograph's coordinates; its pixel size in Å."""
        return MicrographProof(self._prover, micrograph.path, pixel_size)

    def loader(self, micrograph: MicrographFile, *, keep: bool) -> Callable[[], Source]:
        """Return what reads a micrograph for the search; `keep` an exclusion mask that is there already."""

        def load() -> Source:
            with contextlib.suppress(OSError):
                self._times.count_bytes(micrograph.path.stat().st_size)
            return loader(micrograph, self.settings, self.makers)

        if self.settings.exclude != AUTO:
            return load
        return with_exclusion(load, self.folder, micrograph, self.makers.diameter, keep=keep)

    def search(
        self,
        loaders: Iterable[Callable[[], Source]],
        progress: Callable[[Progress], None] | None,
        cancel: threading.Event | None = None,
    ) -> Generator[Outcome, None, None]:
        """Search micrographs, see engine.matching.pipeline.search_all."""
        settings, names = self.settings, self.makers.index.view_names
        return search_all(
            loaders,
            self._pool,
            tile_shape=self._plans.tile_shape,
            per_view=settings.per_view_maps,
            decoys=settings.decoys,
            wanted=Wanted(settings.search, candidate_floor(settings, names), settings.save_maps),
            readers=self._pool.readers(settings.threads),
            cancel=cancel,
            progress=progress,
            times=self._times,
        )

    def finish(self, micrograph: MicrographFile, outcome: Outcome) -> dict[str, Any]:
        """Write one micrograph's results and return its line in run.json; remarks go to the user."""
        with self._times.of("write"):
            row = finish_micrograph(self.results, micrograph, outcome, self._prover)
        if "error" not in row:
            log_facts(**{name: row[name] for name in LOGGED if name in row})
        failed = [row["error"]] if "error" in row else []
        for sentence in (*failed, *row.get("notes", []), *row.get("remarks", [])):
            self._notify(sentence)
        return row

    def write_run(self, state: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Write run.json with these lines and return its content."""
        waited = {"devices_busy": None, "limited_by": "arrival of micrographs"} if self.rested else {}
        return self.results.write_run(
            {
                "state": state,
                "views": self._views,
                "notes": [*self.notes, *self._costly],
                "hints": self._hints,
                "angle_step": self.makers.index.angle_step,
                "search_images": columns_of(self.makers.index),
                "devices": [device.describe() for device in self._pool.devices],
                "failed_devices": dict(self._pool.failed),
                "stages": {**self._times.describe(self._pool), **waited},
                "plan": self._plans.record,
                "python": platform.python_version(),
                "micrographs": rows,
            }
        )

    def conclude(self, run: dict[str, Any]) -> None:
        """Say what the user must know about a run at its end.

        Raises
        ------
        OutputError
            Files of the run have vanished.
        """
        log_facts(stages=run["stages"], plan=run["plan"])
        missing = self.results.missing(run["micrographs"])
        if missing:
            raise OutputError(
                f"{len(missing)} files of this run have vanished from {self.folder}, {missing[0]} among them: the "
                "folder was changed while the run wrote to it; add --resume to pick these micrographs again.",
                self.folder,
            )
        for name, reason in self._pool.failed.items():
            self._notify(f"Device {name} failed and its work went to the others: {reason}")
        if not self._plans.record["stored"]:
            self._notify(
                f"The plan could not be stored in {self._plans.path}, so other runs may differ in the last digits of "
                "scores; free space there, or name a folder on a local disk in GEMPICK_CACHE."
            )
        for sentence in run_notes(run):
            self._notify(sentence)


def finish_micrograph(results: Results, micrograph: MicrographFile, outcome: Outcome, prover: Prover) -> dict[str, Any]:
    """Write one micrograph's results and return its line in run.json; a failure is a line with its reason."""
    path = str(micrograph.path)

    def named(sentence: str) -> str:
        return sentence if micrograph.path.name in sentence else f"{path}: {sentence}"

    row: dict[str, Any] = {"name": micrograph.output_stem, "path": path}
    try:
        if outcome.error is not None:
            raise outcome.error
        assert outcome.scores is not None
        grid, due = outcome.scores.grid, prover.is_due(outcome.scores.grid.file_shape)
        proof = MicrographProof(prover, micrograph.path, grid.pixel_size, outcome.raw) if due else None
        maps = outcome.scores, outcome.per_view, outcome.decoys
        row = results.write(micrograph, *maps, proof, outcome.image, outcome.refine)
        row["seconds"] = round(outcome.seconds, 3)
        if outcome.scores.bound:
            row["map_bound"] = round(outcome.scores.bound, 6)
        if micrograph.pixel_size is not None and row["pixel_size"] == micrograph.pixel_size:
            row["pixel_size_source"] = LIST
    except OutputError:
        raise
    except GempickError as error:
        row["error"] = named(error.sentence)
        LOG.debug("%s failed.", path, exc_info=error)
    if outcome.notes:
        row["notes"] = [named(note) for note in outcome.notes]
    return row
