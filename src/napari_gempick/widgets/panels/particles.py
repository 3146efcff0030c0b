"""A fold of part 5 that cuts the particles out for 2D classification."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFileDialog, QProgressBar

from napari_gempick.extraction.settings import ExtractSettings, make_extract_settings
from napari_gempick.model.declaration import groups
from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.forms.parts import Fold, agreed, button, row, shorten, small
from napari_gempick.widgets.panels.outlooks import duration
from napari_gempick.widgets.state.exporting import chosen_picks, export_picks
from napari_gempick.widgets.state.look import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.widgets.background.background_tasks import BackgroundTasks
    from napari_gempick.widgets.state.controller import Controller

FOLDER = "particles"
_RELION = {"invert": True}
"""As RELION wants particles; `gempick extract` keeps their sign."""


class ParticlesPanel(Fold):
    """Settings of an extraction, and the buttons that start and stop it.

    Parameters
    ----------
    tasks : BackgroundTasks
        Where it runs.
    target : callable
        Returns the folder that is exported to.
    """

    def __init__(self, controller: Controller, tasks: BackgroundTasks, target: Callable[[], Path | None]) -> None:
        super().__init__("Particles", "Cut the particles out, as a stack with a STAR file for RELION")
        self._controller, self._tasks, self._target = controller, tasks, target
        self._values: dict[str, Any] = dict(_RELION)
        self._ctf: Path | None = None
        self._task: Any = None
        self._collecting = False
        self.rows.addWidget(small("Cuts out the picks of all searched micrographs: one stack, one STAR file."))
        self.form = Form(ExtractSettings, groups(ExtractSettings)["Particles"], self._edited)
        self.form.show_values(_RELION)
        self.fields = self.form.fields
        self.rows.addWidget(self.form.native)
        self.ctf = button("CTF: none", "Micrographs STAR file whose CTF and optics are carried over", self._ask_ctf)
        self.rows.addWidget(self.ctf)
        self.plan = small("")
        self.rows.addWidget(self.plan)
        self.run = button("Extract particles", "Cut out the picks that you see, of all micrographs", self.extract)
        self.cancel = button("Cancel", "Stop; nothing of the stack is kept", tasks.cancel)
        self.rows.addLayout(row(self.run, self.cancel))
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setFixedHeight(18)
        self.rows.addWidget(self.bar)
        self.result = small("")
        self.rows.addWidget(self.result)
        tasks.changed.connect(self._update)
        controller.loaded_changed.connect(self._show_plan)
        self._update()
        self._show_plan()

    def _edited(self, name: str, value: Any) -> None:
        self._values[name] = value
        self._show_plan()

    def _ask_ctf(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Micrographs with CTF", "", "STAR files (*.star)")
        self.set_ctf(Path(file) if file else None)

    def set_ctf(self, path: Path | None) -> None:
        """Take CTF and optics from a micrographs STAR file."""
        self._ctf = path
        self.ctf.setText("CTF: none" if path is None else f"CTF: {shorten(path.name, 14)}")

    def settings(self, box: int) -> ExtractSettings:
        """Return the settings; `box` in px where none was typed. Raises SettingsError."""
        given = {name: value for name, value in self._values.items() if value is not None}
        return make_extract_settings({"box": box, **given})

    def _box(self) -> int | None:
        """Return 1.5 particle diameters in px, even; None while they are not known."""
        loaded = self._controller.loaded
        if loaded is None or loaded.selection is None:
            return None
        return 2 * round(0.75 * loaded.selection.diameter / loaded.selection.candidates.pixel_size)

    def _show_plan(self) -> None:
        box = self._box()
        self.fields["box"].explain("auto" if box is None else f"auto: {box} px")
        try:
            made = self.settings(box or 8)
        except GempickError as error:
            self.plan.setText(error.sentence)
            return
        loaded = self._controller.loaded
        size = loaded.pixel_size if loaded is not None and box is not None else None
        self.plan.setText(
            "" if size is None else f"{made.side} × {made.side} px of {size * made.box / made.side:.3g} Å, in {FOLDER}/"
        )

    def extract(self, replace_files: bool | None = None) -> None:
        """Write the picks of all micrographs, and cut them out."""
        controller, target = self._controller, self._target()
        if target is None or controller.folder is None or self._task is not None or self._collecting:
            return
        folder = target / FOLDER
        output = folder / "particles.mrcs"
        if (output.exists() or output.with_suffix(".star").exists()) and not (
            self._agreed(output) if replace_files is None else replace_files
        ):
            return
        state, results, source = controller.state, dict(controller.results), controller.folder.path

        def collect() -> dict[str, Any]:
            chosen, _ = chosen_picks(state, results, source, state.files, controller.selections)
            made = self.settings(chosen[0].box_size)
            export_picks(folder / "picks", chosen, ["star"], overwrite=True)
            settings = state.settings()
            ctf = self._ctf or (settings.ctf if str(settings.ctf).endswith(".star") else None)
            return {
                "micrographs": [str(one.file.path) for one in chosen],
                "picks": str(folder / "picks" / "autopick.star"),
                "output": str(output),
                "settings": made.model_dump(mode="json"),
                "ctf": None if ctf is None else str(ctf),
                "pixel_size": settings.pixel_size,
                "threads": settings.threads,
                "overwrite": True,
            }

        def start(request: dict[str, Any]) -> None:
            self._collecting = False
            self.result.setText("")
            self._task = self._tasks.start(self._done, extract=request)
            self._update()

        def give_up() -> None:
            self._collecting = False

        self._collecting = True
        controller.background.do(collect, start, give_up)

    def _agreed(self, output: Path) -> bool:
        return agreed(self, "Replace files?", f"{output} already exists. Replace it?")

    def _done(self, report: dict[str, Any]) -> None:
        left = [
            f"{report[name]} {words}"
            for name, words in (("at_edge", "too near the edge"), ("outside", "outside their micrograph"))
            if report[name]
        ]
        words = f"{counted(report['particles'], 'particle')} of {counted(report['micrographs'], 'micrograph')}: "
        words += Path(report["star"]).name
        self.result.setText(words + (f"; left out: {', '.join(left)}" if left else "") + ".")
        self.result.setToolTip(f"<p>{report['output']}</p>" + "".join(f"<p>{note}</p>" for note in report["notes"]))
        self._controller.notified.emit(f"{words} in {Path(report['star']).parent}.", "info")
        for one in report["failed"]:
            self._controller.notified.emit(one["error"], "warning")

    def _update(self) -> None:
        task = self._task
        if task is not None and self._tasks.current is not task:
            self._task = task = None
        self.run.setEnabled(task is None)
        self.cancel.setVisible(task is not None)
        self.cancel.setEnabled(task is not None and not task.cancelling)
        self.bar.setVisible(task is not None)
        if task is not None:
            left = task.seconds_left()
            self.bar.setValue(round(1000 * task.share))
            words = "stopping" if task.cancelling else f"{task.share:.0%}"
            self.bar.setFormat(words if left is None or task.cancelling else f"{words}, {duration(left)} left")
