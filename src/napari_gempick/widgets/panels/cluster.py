"""A fold of part 5: submit to a cluster, watch, and open the results as a session, while the job runs or after."""

from __future__ import annotations

import functools
import html
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QFileDialog, QMenu, QProgressBar

from napari_gempick.cluster.collect import collect_job
from napari_gempick.cluster.status import LOST, job_status, last_words
from napari_gempick.cluster.submit import cancel_job, submit_job
from napari_gempick.results.run_file import micrograph_of
from napari_gempick.widgets.forms.parts import Fold, button, row, shorten, small
from napari_gempick.widgets.panels import remembered
from napari_gempick.widgets.panels.cluster_dialog import ClusterDialog
from napari_gempick.widgets.panels.outlooks import duration
from napari_gempick.widgets.state.look import counted
from napari_gempick.widgets.state.result import results_of

if TYPE_CHECKING:
    from napari_gempick.cluster.status import Status
    from napari_gempick.widgets.background.background_tasks import BackgroundTasks
    from napari_gempick.widgets.state.controller import Controller


EVERY = 1000
"""Milliseconds between two looks at a job's files."""
ASK_EVERY = 30.0
"""Seconds between two questions to the scheduler while a job seems to live."""
SHARE = 0.05
"""Of the time may be spent looking: the files of a large job are read less often."""
_WORDS = {
    "exported": "not submitted yet",
    "submitted": "submitted, waits for its nodes",
    "running": "running",
    "complete": "complete",
    "stopped": "stopped before the end",
    "silent": "silent: nothing was heard for longer than usual",
    LOST: "ended without a result",
}


class ClusterPanel(Fold):
    """The button to the dialog, and the job that is watched.

    Parameters
    ----------
    tasks : BackgroundTasks
        Measures and exports.
    """

    def __init__(self, controller: Controller, tasks: BackgroundTasks) -> None:
        super().__init__("Cluster", "Pick the whole data set on a cluster, with the current settings")
        self._controller, self._tasks = controller, tasks
        self.folder: Path | None = None
        self.status: Status | None = None
        self._said = ""
        self._asked = 0.0
        self.dialog: ClusterDialog | None = None
        self._looking = self._submitting = False
        self.rows.addWidget(small("Searches all micrographs as one job, with the current settings and thresholds."))
        self.new = button("Submit to cluster...", "Make a job of these settings and micrographs", self.ask)
        self.known = button("Watch a job", "Watch a job that was submitted earlier", lambda: None)
        self._menu = QMenu(self.known)
        self._menu.aboutToShow.connect(self._fill_menu)
        self.known.setMenu(self._menu)
        self.rows.addLayout(row(self.new, self.known))
        self.words = small("")
        self.rows.addWidget(self.words)
        self.bar = QProgressBar()
        self.bar.setFixedHeight(18)
        self.rows.addWidget(self.bar)
        self.open_ = button("Open results", "Open what the job has done so far as a session", self.open_results)
        self.again = button("Submit", "Hand the job to its scheduler; what is finished is kept", self.submit)
        self.cancel = button("Cancel job", "End the job; what is finished stays", self.cancel_job)
        self.forget = button("Close", "Stop watching this job; the job continues", lambda: self.watch(None))
        self.rows.addLayout(row(self.open_, self.again, self.cancel, self.forget))
        self._timer = QTimer(self)
        self._timer.setInterval(EVERY)
        self._timer.timeout.connect(self._look)
        controller.state_changed.connect(lambda state, before: self._update())
        self._update()

    def ask(self) -> None:
        """Open the dialog."""
        if self.dialog is not None:
            self.dialog.deleteLater()
        self.dialog = ClusterDialog(self, self._controller, self._tasks)
        self.dialog.exported.connect(self._exported)
        self.dialog.open()

    def _exported(self, folder: Path, submit: bool) -> None:
        self.watch(folder)
        if submit:
            self.submit()
        else:
            self._controller.notified.emit(f"The job is in {folder}.", "info")

    def watch(self, folder: Path | None) -> None:
        """Watch a job, or none."""
        self.folder, self.status, self._said = folder, None, ""
        if folder is None:
            self._timer.stop()
        else:
            remembered.remember_job(folder)
            self.set_open(True)
            self._timer.start()
            self._look()
        self._update()

    def _fill_menu(self) -> None:
        self._menu.clear()
        for folder in remembered.jobs():
            self._menu.addAction(shorten(str(folder), 60), functools.partial(self.watch, folder))
        self._menu.addSeparator()
        self._menu.addAction("Another job folder...", self._ask_job)

    def _ask_job(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Job folder")
        if folder:
            self.watch(Path(folder))

    def submit(self) -> None:
        """Hand the job that is watched to its scheduler."""
        folder = self.folder
        if folder is not None and not self._submitting:
            self._submitting = True
            self._update()
            self._controller.background.do(lambda: submit_job(folder), self._submitted, self._not_submitted)

    def _submitted(self, made: Any) -> None:
        self._submitting = False
        self._timer.start()
        self._controller.notified.emit(f"Submitted: job {made.job_id}.", "info")
        self._update()
        self._look()

    def cancel_job(self) -> None:
        """End the job that is watched."""
        folder = self.folder
        if folder is not None:
            self._controller.background.do(
                lambda: cancel_job(folder),
                lambda number: self._controller.notified.emit(f"Cancelled job {number}.", "info"),
            )

    def open_results(self) -> None:
        """Open the results so far."""
        if self.folder is not None:
            open_results(self._controller, self.folder)

    def _look(self) -> None:
        """Read how far the job is, on a thread; one look at a time."""
        folder = self.folder
        if self._looking or folder is None:
            return
        self._looking = True
        known = "" if self.status is None else self.status.state
        ask = known in ("silent", "stopped", LOST) or time.monotonic() > self._asked + ASK_EVERY
        self._asked = time.monotonic() if ask else self._asked

        def read() -> tuple[Path, Status, str, float]:
            started = time.perf_counter()
            status = job_status(folder, ask=ask)
            said = "" if status.state in ("running", "complete") else last_words(folder)
            return folder, status, said, time.perf_counter() - started

        self._controller.background.do(read, self._looked, self._not_seen)

    def _looked(self, found: tuple[Path, Status, str, float]) -> None:
        self._looking = False
        folder, status, said, seconds = found
        if folder != self.folder:
            return
        self.status, self._said = status, said
        self._timer.setInterval(max(EVERY, round(1000 * seconds / SHARE)))
        if status.state in ("complete", LOST):
            self._timer.stop()
        self._update()

    def _not_submitted(self) -> None:
        self._submitting = False
        self._update()

    def _not_seen(self) -> None:
        """Go on after a job folder could not be read; one that never could is watched no longer."""
        self._looking = False
        if self.status is None:
            self.folder = None
            self._timer.stop()
        self._update()

    def _update(self) -> None:
        status, state = self.status, self._controller.state
        self.new.setEnabled(bool(state.files) and bool(state.views))
        watched = self.folder is not None
        for widget in (self.words, self.bar, self.open_, self.forget):
            widget.setVisible(watched)
        running = status is not None and status.state in ("submitted", "running", "silent")
        waits = status is not None and (status.state in ("exported", "stopped", "silent", LOST) or bool(self._said))
        self.cancel.setVisible(watched and running)
        self.again.setVisible(watched and waits)
        self.again.setEnabled(not self._submitting)
        self.again.setText("Submit again" if status is not None and status.attempt else "Submit")
        self.open_.setEnabled(status is not None and status.done > 0)
        if self.folder is None or status is None:
            self.words.setText("" if self.folder is None else f"<b>{self.folder.name}</b>: looking...")
            self.bar.setRange(0, 1)
            self.bar.setValue(0)
            return
        state_words = "being submitted" if self._submitting else _WORDS[status.state]
        if status.state == "submitted" and self._said and not self._submitting:
            state_words = "started, and no rank has reported yet"
        number = f" (job {status.job_id})" if status.job_id else ""
        failed = f", {status.failed} failed" if status.failed else ""
        left = f", {duration(status.seconds_left)} left" if status.seconds_left else ""
        self.words.setText(
            f"<b>{self.folder.name}</b>{number}: {state_words}<br>"
            f"{status.done} of {status.total} micrographs done{failed}{left}"
            + (f"<br>its log ends: {html.escape(self._said[:200])}" if self._said else "")
        )
        ranks = "".join(
            f"<br>{r.rank}: {r.host}, {r.devices}, {counted(r.micrographs, 'micrograph')}" for r in status.ranks
        )
        failures = "".join(f"<br>{name}" for name in status.failures[:20])
        self.words.setToolTip(
            f"<p>{self.folder}</p>"
            + (f"<p>Ranks:{ranks}</p>" if ranks else "")
            + (f"<p>Failed:{failures}</p>" if failures else "")
        )
        self.bar.setRange(0, max(1, status.total))
        self.bar.setValue(status.done + status.failed)
        self.bar.setFormat("%v of %m")


def open_results(controller: Controller, folder: Path) -> None:
    """Open what a job has done so far; called again, it adds what was done since and keeps every correction."""
    controller.background.do(lambda: collect_job(folder), lambda run: _show(controller, folder / "results", run))


def _show(controller: Controller, results: Path, run: dict[str, Any]) -> None:
    open_already = controller.folder is not None and controller.folder.path == results
    if not open_already and not controller.open_folder(results):
        return
    found = results_of(run)
    new = {stem: one for stem, one in found.items() if stem not in controller.results or controller.results[stem].error}
    state = controller.state
    files = {file.output_stem: file for file in state.files}
    files |= {row["name"]: micrograph_of(row) for row in run["micrographs"] if row["name"] not in files}
    order = {stem: place for place, stem in enumerate(found)}
    ordered = tuple(files[stem] for stem in sorted(files, key=lambda stem: order.get(stem, len(order))))
    if ordered != state.files:
        controller.do("results of the job", replace(state, files=ordered))
    for stem, one in new.items():
        controller.set_result(stem, one)
    failed = sum("error" in row for row in run["micrographs"])
    done = len(run["micrographs"]) - failed
    rest = f", {failed} failed" if failed else ""
    more = "" if run["state"] == "complete" else "; open them again for those that come"
    controller.notified.emit(f"Results of {counted(done, 'micrograph')} of the job{rest}{more}.", "info")
