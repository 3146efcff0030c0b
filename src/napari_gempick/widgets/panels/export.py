"""Part 5: export."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog
from superqt.utils import qthrottled

from napari_gempick.cluster.folder import JOB_FILE
from napari_gempick.io.formats import FORMATS
from napari_gempick.model.declaration import declarations
from napari_gempick.model.settings import PickSettings
from napari_gempick.widgets.forms.editors import Several
from napari_gempick.widgets.forms.forms import editor_of
from napari_gempick.widgets.forms.parts import Panel, agreed, button, primary, row, shorten, small
from napari_gempick.widgets.panels.cluster import ClusterPanel
from napari_gempick.widgets.panels.particles import ParticlesPanel
from napari_gempick.widgets.state.exporting import chosen_picks, export_picks, planned
from napari_gempick.widgets.state.look import counted

if TYPE_CHECKING:
    from napari_gempick.widgets.background.background_tasks import BackgroundTasks
    from napari_gempick.widgets.background.pick_counter import PickCounter
    from napari_gempick.widgets.state.controller import Controller
    from napari_gempick.widgets.state.state import State
    from napari_gempick.workflows.export import Written


class ExportPanel(Panel):
    """Formats, folder, and what will be written."""

    def __init__(
        self, controller: Controller, counter: PickCounter, extraction: BackgroundTasks, cluster: BackgroundTasks
    ) -> None:
        super().__init__(5, "Export and submit", "Writes the picks that you see.")
        self._controller, self._counter = controller, counter
        self._folder: Path | None = None
        self.formats = editor_of(
            declarations(PickSettings)["format"],
            tip="Formats of the coordinate files",
            widget_type=Several,
            choices={name: made.help for name, made in FORMATS.items()},
            none="none: choose one",
        )
        self.formats.changed.connect(lambda _: self._update())
        self.rows.addLayout(row(self.formats.label, self.formats.native, wide=1))
        self.folder = button("", "Choose the folder to write into", self._ask_folder)
        self.rows.addLayout(row("Folder", self.folder, wide=1))
        self.plan = small("")
        self.rows.addWidget(self.plan)
        self.this = button(
            "Export this", "Write the picks of the micrograph that is shown", lambda: self.export(all_=False)
        )
        self.all = primary(
            "Export all", "Write the picks of all micrographs that were searched", lambda: self.export(all_=True)
        )
        self.rows.addLayout(row(self.this, self.all))
        self.proof = small("")
        self.proof.setVisible(False)
        self._writing = False
        controller.notified.connect(lambda sentence, kind: kind == "error" and self._failed())
        self.rows.addWidget(self.proof)
        self.particles = ParticlesPanel(controller, extraction, lambda: self.target)
        self.rows.addWidget(self.particles)
        self.cluster = ClusterPanel(controller, cluster)
        self.rows.addWidget(self.cluster)
        controller.folder_changed.connect(self._update)
        controller.folder_changed.connect(lambda: self._say_proof(""))
        controller.state_changed.connect(self._state_changed)
        controller.loaded_changed.connect(self._update)
        self._update_soon = qthrottled(self._update, timeout=250, leading=False)
        counter.counted.connect(lambda stem: self._update_soon())
        self._update()

    @property
    def target(self) -> Path | None:
        """The folder to write into: the one that was chosen, else that of the results.

        A job compares its results with their checksums when it continues, so picks are written beside them.
        """
        if self._folder is not None or self._controller.folder is None:
            return self._folder
        results = self._controller.folder.path
        return results.with_name("picks") if (results.parent / JOB_FILE).is_file() else results

    def _state_changed(self, state: State, before: State) -> None:
        if (state.files, state.rejected) != (before.files, before.rejected):  # numbers of picks come one by one
            self._update()

    def set_folder(self, folder: Path) -> None:
        """Write into another folder."""
        self._folder = folder
        self._update()

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the coordinates", str(self.target or ""))
        if folder:
            self.set_folder(Path(folder))

    def _update(self) -> None:
        names, target = self.formats.value, self.target
        self.folder.setText("as the results" if target is None else shorten(str(target), 40))
        controller = self._controller
        results = controller.results
        searched = [f for f in controller.state.kept if f.output_stem in results and not results[f.output_stem].error]
        counts = [self._counter.counts.get(file.output_stem) for file in searched]
        total = sum(count for count in counts if count is not None)
        here = any(file.output_stem == controller.stem for file in searched)
        self.this.setEnabled(bool(names) and here)
        self.all.setEnabled(bool(names) and bool(searched))
        state = controller.state
        rejected = len(state.files) - len(state.kept)
        if searched:
            words = "with your corrections." if total else "so the files will be empty. Lower the thresholds in part 4."
            are = "is" if rejected == 1 else "are"
            out = f" {counted(rejected, 'rejected micrograph')} {are} left out." if rejected else ""
            self.plan.setText(f"{counted(total, 'pick')} of {counted(len(searched), 'micrograph')}, {words}{out}")
        elif controller.loaded is not None and controller.loaded.preview:
            self.plan.setText("This is a preview. Press Run this before you export.")
        elif any(stem in state.rejected for stem in results):
            self.plan.setText("Nothing to write: the searched micrographs are rejected. Keep some in Curate first.")
        else:
            self.plan.setText("Nothing to write yet: search a micrograph first.")
        self.summary.setText("")

    def export(self, *, all_: bool, replace_files: bool | None = None) -> None:
        """Write; files that are there already are replaced when they are in the results folder, or after asking."""
        controller, target, names = self._controller, self.target, self.formats.value
        if target is None or controller.folder is None:
            return
        own = target == controller.folder.path
        state, results, source = controller.state, dict(controller.results), controller.folder.path
        files = state.files if all_ else tuple(file for file in state.files if file.output_stem == controller.stem)

        def collect() -> Any:
            chosen, problems = chosen_picks(state, results, source, files, controller.selections)
            there = [path for path in planned(target, chosen, names) if path.exists()]
            return chosen, problems, there

        def write(made: Any) -> None:
            chosen, problems, there = made
            nothing = not any(len(one.picks) for one in chosen)
            if there and (nothing or not own) and replace_files is None and not self._agreed(there, nothing):
                return
            self._writing = True
            self._say_proof("Writing, and reading the files back to check them against the micrographs...")
            controller.background.do(
                lambda: export_picks(target, chosen, names, overwrite=True, templates=state.settings()),
                lambda written: self._wrote(written, chosen, problems),
            )

        controller.background.do(collect, write)

    def _agreed(self, there: list[Path], nothing: bool) -> bool:
        more = f" and {counted(len(there) - 1, 'more file')}" if len(there) > 1 else ""
        what = "There are no picks. Replace them with empty files?" if nothing else "Replace them?"
        return agreed(self, "Replace files?", f"{there[0].name}{more} exist already. {what}")

    def _wrote(self, written: Written, chosen: list[Any], problems: list[str]) -> None:
        self._writing = False
        picks, paths = sum(len(one.picks) for one in chosen), written.paths
        if paths:
            what = paths[0].name if len(paths) == 1 else f"{len(paths)} files"
            self._controller.notified.emit(f"{counted(picks, 'pick')} written: {what} in {paths[0].parent}.", "info")
        if written.wrong:
            self._controller.notified.emit(" ".join(written.wrong.values()), "error")
        for sentence in problems:
            self._controller.notified.emit(sentence, "warning")
        lines: dict[str, list[str]] = {}
        for name, proof in written.proofs.items():
            lines.setdefault(proof.sentence, []).append(name)
        shown = [f"<b>{', '.join(names)}</b>: {html.escape(text)}" for text, names in lines.items()]
        self._say_proof("<br>".join([*shown, *([written.frame] if written.frame else [])]))

    def _failed(self) -> None:
        if self._writing:
            self._writing = False
            self._say_proof("")

    def _say_proof(self, words: str) -> None:
        self.proof.setText(words)
        self.proof.setToolTip(
            "<p>The files were read back as the other program would; the particles where they point were averaged and "
            "compared with the templates (1 is identical), as written and as if x or y were flipped, exchanged or "
            "shifted.</p>"
        )
        self.proof.setVisible(bool(words))
