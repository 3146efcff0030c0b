"""Part 3: the search, its settings, the angle step worked out, and the command that repeats it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QFileDialog, QMenu, QProgressBar

from napari_gempick.io.atomic import write_text
from napari_gempick.io.star import write_tables
from napari_gempick.model.declaration import declarations, groups, names_with
from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import PickSettings, make_settings
from napari_gempick.model.values import AUTO
from napari_gempick.results.run_file import merged, read_settings
from napari_gempick.widgets.forms.editors import lower
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.forms.parts import Fold, Link, Panel, button, keep_room, mark_next, row, small, url_of
from napari_gempick.widgets.panels.outlooks import Outlooks, duration
from napari_gempick.widgets.state.exporting import shared_settings
from napari_gempick.widgets.state.reopening import state_of_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.background.search_runner import Run, SearchRunner
    from napari_gempick.widgets.state.controller import Controller


class SearchPanel(Panel):
    """Settings of the search, and the buttons that start and stop it."""

    def __init__(self, controller: Controller, searches: SearchRunner) -> None:
        super().__init__(3, "Search", "Compares every rotated template with every position.")
        self._controller, self._searches = controller, searches
        self._devices: list[tuple[str, str]] = [("auto", AUTO)]
        self.form = Form(
            PickSettings,
            [name for name in names_with(PickSettings, group="Search") if name != "devices"],
            controller.set_value,
            controller.notified.emit,
        )
        self.devices_form = Form(
            PickSettings,
            ["devices"],
            controller.set_value,
            columns=1,
            options={"devices": {"choices": lambda _: self._devices}},
        )
        self.fields = self.form.fields
        self.devices = self.devices_form.fields["devices"]
        self._tip = self.devices.tooltip
        self.rows.addWidget(self.form.native)
        self.more = button("Settings", "Save and load the settings, or copy them as a command", lambda: None)
        self.more.setMenu(self._make_menu())
        self.rows.addLayout(row(self.devices_form.native, self.more, wide=0))
        self.advanced = MoreSettings()
        self.advanced.edited.connect(controller.set_value)
        self.advanced.refused.connect(controller.notified.emit)
        self.rows.addWidget(self.advanced)
        self.run_this = button("Run this", "Search the micrograph that is shown", searches.run_this)
        self.run_all = button("Run all", "Search all micrographs without results for these settings", searches.run_all)
        self.preview = button("Preview", "A quick look at this micrograph: most picks, in seconds", searches.preview)
        self.cancel = button("Cancel", "Stop within a second; finished micrographs stay", searches.cancel)
        self.cost, self.warnings = small(""), small("")
        self.cost.ensurePolished()  # the font is that of the style sheet
        self.cost.setMinimumHeight(2 * self.cost.fontMetrics().lineSpacing())  # most are as long
        self.warnings.setObjectName("warnings")
        self.warnings.setStyleSheet("font-size: 11px; color: #e08a00;")
        self.outlooks = Outlooks(controller, searches, self.fields["angle_step"], self.cost, self.warnings)
        for line in (self.cost, self.warnings):
            keep_room(line)
            line.hide()
            self.rows.addWidget(line)
        self.rows.addLayout(row(self.preview, self.run_this, self.run_all, self.cancel))
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(True)
        self.bar.setFormat("")
        self.bar.setFixedHeight(18)
        self.rows.addWidget(self.bar)
        self.folder = Link(lambda: controller.folder and QDesktopServices.openUrl(url_of(controller.folder.path)))
        self.rows.addWidget(self.folder)
        controller.state_changed.connect(self._state_changed)
        controller.folder_changed.connect(self._folder_changed)
        controller.current_changed.connect(self._update)
        controller.loaded_changed.connect(self._update)
        searches.changed.connect(self._update)
        searches.machine_known.connect(self._machine_known)
        self._folder_changed()
        self._update()

    def _make_menu(self) -> QMenu:
        menu = QMenu(self.more)
        menu.addAction("Copy as command line", self.copy_command)
        menu.addAction("Save settings as JSON...", self._ask_save)
        menu.addAction("Load settings from JSON...", self._ask_load)
        menu.addSeparator()
        menu.addAction("Choose the results folder...", self._ask_folder)
        return menu

    def _state_changed(self, state: Any, before: Any) -> None:
        if state.values != before.values:
            for form in (self.form, self.devices_form, self.advanced):
                form.show_values(state.values)
        if any(getattr(state, name) != getattr(before, name) for name in ("values", "files", "views", "rejected")):
            self._update()

    def _machine_known(self, machine: dict[str, Any]) -> None:
        cpu, gpus = machine["cpu"], machine["gpus"]
        best = gpus[0]["name"].removeprefix("NVIDIA ") if gpus else f"CPU, {cpu['threads']} threads"
        self._devices = [(f"auto: {best}", AUTO), (f"CPU: {cpu['cpu']}, {cpu['threads']} threads", "cpu")]
        for gpu in gpus:
            free, total = (gpu[key] / 2**30 for key in ("free", "total"))
            self._devices.append(
                (f"{gpu['name']} ({gpu['device']}), {free:.0f} of {total:.0f} GiB free", gpu["device"])
            )
        if len(gpus) > 1:
            self._devices.append((f"all {len(gpus)} GPUs", ",".join(gpu["device"] for gpu in gpus)))
        self.devices.reset_choices()
        self.devices.tooltip = self._tip + ("" if gpus else f"<p>No GPU: {machine['no_gpu_because']}.</p>")
        self.devices_form.show_values(self._controller.state.values)

    def _folder_changed(self) -> None:
        folder = self._controller.folder
        self.folder.setText("" if folder is None else f"Results: {folder.path}")
        self.folder.setToolTip(
            "" if folder is None else f"Open {folder.path}: candidates, maps, picks and this session"
        )
        self.folder.setVisible(folder is not None)

    def _update(self) -> None:
        searches, state = self._searches, self._controller.state
        run = searches.run
        ready = run is None and bool(state.files) and bool(state.views)
        self.run_this.setEnabled(ready)
        self.run_all.setEnabled(ready)
        self.preview.setEnabled(ready)
        if run is None:
            self._mark_next()
        self.cancel.setEnabled(run is not None and not searches.cancelling)
        self.bar.setVisible(run is not None)
        if run is None:
            self.bar.setValue(0)
            self.summary.setText(
                ""
                if ready
                else "needs "
                + " and ".join(w for w, n in (("micrographs", state.files), ("templates", state.views)) if not n)
            )
            return
        self.bar.setFormat(self._words_of(run))  # first, because a new value is drawn at once
        self.bar.setValue(round(1000 * searches.progress))
        self.summary.setText("running")

    def _mark_next(self) -> None:
        """Mark the button that most people press next: Preview, Run this, then Run all; none once all is searched."""
        controller, searches = self._controller, self._searches
        file, loaded = controller.file, controller.loaded
        here = "" if file is None else searches.state_of(file)[0]
        looked = bool(controller.results) or (loaded is not None and loaded.preview)
        rest = here == "done" and any(searches.state_of(one)[0] != "done" for one in controller.state.kept)
        mark_next(self.preview, not looked)
        mark_next(self.run_this, looked and here != "done")
        mark_next(self.run_all, rest)

    def _words_of(self, run: Run) -> str:
        """Say how far a run is: micrograph, rotated templates, and the time that is left."""
        searches, left, known = self._searches, self._searches.seconds_left(), self.outlooks.known
        if searches.cancelling:
            return "stopping"
        words = []
        if len(run.files) > 1:
            words.append(f"{min(searches.finished + 1, len(run.files))} of {len(run.files)}")
        if not searches.share:
            words.append(searches.stage or "starting")
        elif known is not None and not run.preview:
            words.append(f"template {searches.share * known.images:,.0f} of {known.images:,}")
        else:
            words.append(f"{searches.progress:.0%}")
        if left is not None:
            words.append(f"{duration(left)} left")
        return ", ".join(words)

    def copy_command(self) -> None:
        """Put the command that repeats the search on the clipboard."""
        controller = self._controller
        try:
            settings = shared_settings(controller)
            files, session = controller.state.files, controller.folder
            inputs = [file.path for file in files] if session is None else inputs_of(files, session.path)
        except GempickError as error:
            controller.notified.emit(error.sentence, "error")
            return
        folder = Path("picks") if session is None else session.path.with_name("picks")
        text = command_line(settings, inputs, folder)
        QApplication.clipboard().setText(text)
        controller.notified.emit("The command is on the clipboard.", "info")

    def _ask_save(self) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "Save the settings", "settings.json", "JSON (*.json)")
        if file:
            self.save_settings(Path(file))

    def save_settings(self, path: Path) -> None:
        """Write the settings as `gempick pick --config` reads them."""
        try:
            settings = shared_settings(self._controller)
            write_text(path, json.dumps(settings.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
        except GempickError as error:
            self._controller.notified.emit(error.sentence, "error")

    def _ask_load(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Load settings", "", "JSON (*.json)")
        if file:
            self.load_settings(Path(file))

    def load_settings(self, path: Path) -> None:
        """Take templates, masks, thresholds and all settings of a JSON file or a run.json."""
        from dataclasses import replace

        controller = self._controller
        try:
            made = state_of_settings(merged(make_settings, read_settings, path, {}))
        except GempickError as error:
            controller.notified.emit(error.sentence, "error")
            return
        state = replace(controller.state, values=made.values, tune=made.tune)
        controller.do("load settings", replace(state, views=made.views) if made.views else state)

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the results")
        if folder:
            self._controller.use_folder(Path(folder))


def inputs_of(files: Sequence[MicrographFile], folder: Path) -> list[Path]:
    """Return what to give `gempick pick`: the files, and a STAR list of those whose pixel size came from one.

    Parameters
    ----------
    folder : Path
        Gets micrographs.star where a list is needed.
    """
    listed = [file for file in files if file.pixel_size is not None]
    if not listed:
        return [file.path for file in files]
    star = folder / "micrographs.star"
    names = [str(file.path) for file in listed]
    sizes = [repr(file.pixel_size) for file in listed]
    write_tables(star, {"micrographs": {"rlnMicrographName": names, "rlnMicrographPixelSize": sizes}})
    return [star, *(file.path for file in files if file.pixel_size is None)]


def command_line(settings: PickSettings, micrographs: Sequence[Path], folder: Path) -> str:
    """Return `gempick pick ...` with every setting that is not the default, quoted for a shell."""
    words = ["gempick", "pick", *(str(path) for path in micrographs)]
    for name, one in declarations(PickSettings).items():
        value = getattr(settings, name)
        if value == one.default:
            continue
        if one.type is bool:
            words.append(one.flag if value else f"--no-{one.flag[2:]}")
        else:
            for item in value if one.many else (value,):
                words += [one.flag, f"{item:.12g}" if isinstance(item, float) else str(item)]
    return shlex.join([*words, "-o", str(folder)])


ELSEWHERE = {
    *names_with(PickSettings, group=("Micrographs", "Templates", "Search", "Tune", "Limits")),
    *("templates", "mask", "threshold", "score", "format"),
}
"""Settings that have their place in a part of the dock."""


class MoreSettings(Fold):
    """Editors of the other settings under their headings; `edited` tells a change, `refused` why it cannot be made."""

    edited = Signal(str, object)
    refused = Signal(str, str)

    def __init__(self) -> None:
        super().__init__("More settings", "Filters, CTF, exclusion, symmetry, grid, masks, threads")
        self.forms = []
        for heading, declared in groups(PickSettings).items():
            names = [name for name in declared if name not in ELSEWHERE]
            if names:
                self.rows.addWidget(small(f"<b>{heading}</b>"))
                self.forms.append(Form(PickSettings, names, self.edited.emit, self.refused.emit))
                self.rows.addWidget(self.forms[-1].native)
        self.fields = {name: field for form in self.forms for name, field in form.fields.items()}

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the settings, and in the heading which of them are not the defaults."""
        for form in self.forms:
            form.show_values(values)
        for name in ("phase_flipped", "ctf_step"):
            self.fields[name].enabled = bool(values.get("ctf"))
        changed = [lower(field.label) for name, field in self.fields.items() if values.get(name) is not None]
        self.say(", ".join(changed))
