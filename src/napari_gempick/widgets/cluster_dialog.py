"""The dialog that makes a cluster job of the present settings and micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_gempick.job.cluster.estimate import Measured, size
from napari_gempick.job.cluster.export import preview_script
from napari_gempick.job.cluster.script import site_names
from napari_gempick.job.run_rows import row_of
from napari_gempick.model.cluster import ClusterSettings, make_cluster
from napari_gempick.model.errors import GempickError
from napari_gempick.widgets import remembered
from napari_gempick.widgets.fields import Combo, Field, tip_of
from napari_gempick.widgets.fold import Fold
from napari_gempick.widgets.parts import GAP, button, primary, row, small

if TYPE_CHECKING:
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.widgets.controller import Controller
    from napari_gempick.widgets.tasks import Task, Tasks

_SITES = {
    "slurm": "Slurm",
    "pbs": "PBS / OpenPBS",
    "sge": "SGE",
    "lsf": "LSF",
    "mpirun": "this computer, without a scheduler",
}
_OTHER = "\n"
_FRAMED = "QPlainTextEdit { border: 1px solid #7a7d85; border-radius: 2px; }"
_PAIRS = (
    ("partition", "Partition"),
    ("account", "Account"),
    ("nodes", "Nodes"),
    ("tasks_per_node", "Tasks per node"),
    ("cpus_per_task", "Cores per task"),
    ("gpus_per_node", "GPUs per node"),
    ("walltime", "Longest run"),
    ("memory", "Memory per node"),
)
_MORE = (
    ("job_name", "Job name"),
    ("distribution", "Distribution"),
    ("launcher", "Launcher"),
    ("python", "Python on the nodes"),
    ("mpiexec", "mpiexec on the nodes"),
    ("warning", "Warning before the end"),
)
_LINES = (("launcher_option", "Launcher options"), ("directive", "Scheduler options"), ("variable", "Variables"))


class ClusterDialog(QDialog):
    """Where the job runs, what it will take, and the script that is submitted.

    Parameters
    ----------
    parent : QWidget
    controller : Controller
    tasks : Tasks
        Measures and exports in a process of its own.
    """

    exported = Signal(object, bool)
    """Job folder, and whether it shall be submitted."""

    def __init__(self, parent: QWidget, controller: Controller, tasks: Tasks) -> None:
        super().__init__(parent)
        self.setWindowTitle("Submit to cluster")
        self._controller, self._tasks = controller, tasks
        self.values: dict[str, Any] = remembered.last_cluster()
        self.measured: Measured | None = None
        self._views = self._input_bytes = 0
        self._measured_gpu: bool | None = None
        self._working = self._closed = False
        self._task: Task | None = None
        self._lay_out(remembered.last_choices())
        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(120)
        self._slow.timeout.connect(self._show)
        controller.said.connect(self._said)
        self.resize(1000, 640)
        self._measure()
        self._show()

    # layout

    def _lay_out(self, choices: dict[str, Any]) -> None:
        controller = self._controller
        form = QFormLayout()
        form.setSpacing(GAP + 1)
        self.site = Combo()
        self.site.setToolTip(tip_of("site", ClusterSettings))
        self.site.setAccessibleName("Scheduler")
        self._fill_sites()
        self.site.activated.connect(self._site_chosen)
        form.addRow("Scheduler", self.site)
        self.folder = QLineEdit(str(_free_job_folder(controller, choices)))
        self.folder.setToolTip("A new folder, on a disk that the nodes see; results come into it")
        self.folder.textChanged.connect(self._changed)
        choose = button("...", "Choose the folder in which the job's folder is made", self._ask_folder)
        choose.setFixedWidth(30)
        form.addRow("Job folder", row(self.folder, choose))
        grid = QGridLayout()
        grid.setSpacing(GAP + 1)
        self.fields: dict[str, Field] = {}
        for place, (name, label) in enumerate(_PAIRS):
            field = self._field(name, label, "as estimated" if name == "memory" else "")
            grid.addWidget(field.label, place // 2, 2 * (place % 2))
            grid.addWidget(field.editor, place // 2, 2 * (place % 2) + 1)
        for column in (1, 3):
            grid.setColumnStretch(column, 1)
        self.lines: dict[str, QPlainTextEdit] = {}
        environment = self._lines("environment", 58)
        environment.setPlaceholderText("module load openmpi\nconda activate gempick")
        self.maps = QCheckBox("Keep score and index maps")
        self.maps.setToolTip(
            "Maps of every micrograph, to look at afterwards; thresholds can be moved without them, too"
        )
        self.maps.setChecked(bool(choices.get("maps", False)))
        self.maps.toggled.connect(self._changed)
        elsewhere = Fold("Micrographs lie elsewhere on the cluster", "The same files under another path")
        self.root, self.cluster_root = QLineEdit(choices.get("root", "")), QLineEdit(choices.get("cluster_root", ""))
        self.root.setToolTip("Folder of all micrographs on this computer")
        self.cluster_root.setToolTip("What that folder is called on the cluster")
        places = QFormLayout()
        for label, edit in (("Folder here", self.root), ("Folder there", self.cluster_root)):
            edit.textChanged.connect(self._changed)
            places.addRow(label, edit)
        elsewhere.rows.addLayout(places)
        elsewhere.set_open(bool(self.root.text()))
        more = Fold("More", "Names, launcher, distribution, options of the scheduler")
        others = QFormLayout()
        for name, label in _MORE:
            field = self._field(name, label)
            others.addRow(field.label, field.editor)
        for name, label in _LINES:
            others.addRow(label, self._lines(name, 40))
        more.rows.addLayout(others)
        left = QWidget()
        rows = QVBoxLayout(left)
        rows.setContentsMargins(0, 0, 6, 0)
        rows.addLayout(form)
        rows.addLayout(grid)
        rows.addWidget(QLabel("Environment, a shell line each"))
        rows.addWidget(environment)
        rows.addWidget(self.maps)
        rows.addWidget(elsewhere)
        rows.addWidget(more)
        rows.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(left)
        scroll.setMinimumWidth(440)
        self.estimate = small("")
        self.estimate.setMinimumHeight(86)
        self.estimate.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.script = QPlainTextEdit()
        self.script.setReadOnly(True)
        self.script.setStyleSheet(_FRAMED)
        self.script.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.script.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.script.setAccessibleName("Submit script")
        right = QVBoxLayout()
        right.addWidget(_heading("What it will take"))
        right.addWidget(self.estimate)
        right.addWidget(_heading("The script that is submitted"))
        right.addWidget(self.script, 1)
        columns = QHBoxLayout()
        columns.addWidget(scroll, 4)
        columns.addLayout(right, 5)
        self.problem = small("")
        self.problem.setStyleSheet("font-size: 11px; color: #ff6b5a;")
        self.submit = primary("Submit", "Write the job folder and hand it to the scheduler", lambda: self.export(True))
        self.only = button("Export only", "Write the job folder, to be submitted later", lambda: self.export(False))
        self.stop = button("Cancel", "Close without a job", self.reject)
        bottom = row(self.problem, self.stop, self.only, self.submit)
        bottom.setStretch(0, 1)
        layout = QVBoxLayout(self)
        layout.addLayout(columns, 1)
        layout.addLayout(bottom)

    def _field(self, name: str, label: str, empty: str = "") -> Field:
        field = self.fields[name] = Field(name, ClusterSettings, empty)
        field.label.setText(label)
        field.editor.setAccessibleName(label)
        field.set(self.values.get(name))
        field.edited.connect(self._edited)
        return field

    def _lines(self, name: str, height: int) -> QPlainTextEdit:
        """Return an editor of a setting that has several lines."""
        edit = self.lines[name] = QPlainTextEdit("\n".join(self.values.get(name, ())))
        edit.setToolTip(tip_of(name, ClusterSettings))
        edit.setAccessibleName(name.replace("_", " "))
        edit.setFixedHeight(height)
        edit.setTabChangesFocus(True)
        edit.setStyleSheet(_FRAMED)
        edit.textChanged.connect(
            lambda: self._edited(name, tuple(filter(str.strip, edit.toPlainText().splitlines())) or None)
        )
        return edit

    def _fill_sites(self) -> None:
        chosen = self.values.get("site", "slurm")
        self.site.clear()
        known = site_names()
        for name in (*(name for name in _SITES if name in known), *(name for name in known if name not in _SITES)):
            self.site.addItem(_SITES.get(name, name), name)
        if self.site.findData(chosen) < 0:
            self.site.addItem(f"cryoSPARC: {Path(chosen).name}", chosen)
        self.site.addItem("cryoSPARC cluster folder...", _OTHER)
        self.site.setCurrentIndex(self.site.findData(chosen))

    # what the person does

    def _site_chosen(self) -> None:
        site = self.site.currentData()
        if site == _OTHER:
            site = QFileDialog.getExistingDirectory(self, "Folder with cluster_info.json and cluster_script.sh")
        if site:
            self.values["site"] = site
        self._fill_sites()
        self._changed()

    def _ask_folder(self) -> None:
        here = Path(self.folder.text())
        folder = QFileDialog.getExistingDirectory(self, "Folder in which the job's folder is made", str(here.parent))
        if folder:
            self.folder.setText(str(_free(Path(folder), here.name)))

    def _edited(self, name: str, value: Any) -> None:
        self.values.pop(name, None)
        if value is not None:
            self.values[name] = value
        self._changed()

    def _changed(self) -> None:
        self._slow.start()

    def cluster(self) -> ClusterSettings:
        """Return the settings of the cluster. Raises SettingsError."""
        return make_cluster(self.values)

    def settings(self) -> PickSettings:
        """Return the settings of the search, with the maps that shall be kept. Raises SettingsError."""
        return self._controller.state.settings(save_maps=self.maps.isChecked())

    # estimate and preview

    def _measure(self) -> None:
        """Measure one micrograph in the helping process; again when GPUs are asked for, or no longer."""
        gpu = int(self.values.get("gpus_per_node", 0)) > 0
        if gpu == self._measured_gpu:
            return
        try:
            request = self._request(measure={"gpu": gpu})
        except GempickError:
            return  # said by _show
        self._measured_gpu = gpu

        def take(result: dict[str, Any]) -> None:
            if gpu == self._measured_gpu and not self._closed:
                self.measured = Measured(**result["measured"])
                self._views, self._input_bytes = result["views"], result["input_bytes"]
                self._show()

        self._task = self._tasks.start(take, **request)

    def _request(self, **what: Any) -> dict[str, Any]:
        files = self._controller.state.files
        return {
            **what,
            "settings": self.settings().model_dump(mode="json"),
            "micrographs": [row_of(file) for file in files],
        }

    def _show(self) -> None:
        """Show estimate, script, and what is wrong."""
        self._measure()
        measured, problem, memory, remarks = self.measured, "", None, ()
        try:
            cluster, settings = self.cluster(), self.settings()
            if measured is None:
                self.estimate.setText("Measuring one micrograph here; this takes a few seconds...")
            else:
                found = measured.estimate(settings, cluster, self._views, self._input_bytes)
                memory = found.memory
                self.estimate.setText("<br>".join(found.sentences()))
                with_maps = settings.model_copy(update={"save_maps": True})
                maps = measured.estimate(with_maps, cluster, self._views).map_bytes
                self.maps.setText("Keep score and index maps" + (f" ({size(maps)})" if maps else ""))
            script, remarks = preview_script(settings, Path(self.folder.text()), cluster, memory)
            self.script.setPlainText(script)
            if Path(self.folder.text()).exists():
                problem = "The job folder exists already; name a new one."
            elif self.cluster_root.text() and not self.root.text():
                problem = "Name the folder of the micrographs here, too."
        except GempickError as error:
            problem = _without_options(error.sentence)
        self._say(problem or _without_options(" ".join(remarks)))
        ready = not problem and not self._working
        self.submit.setEnabled(ready)
        self.only.setEnabled(ready)

    def _say(self, sentence: str) -> None:
        self.problem.setText(sentence)

    def _said(self, sentence: str, kind: str) -> None:
        """Show an error of the export here too, and let the person mend it."""
        if kind == "error" and self.isVisible():
            self._working = False
            self._show()
            self._say(sentence)

    def export(self, submit: bool) -> None:
        """Write the job folder; `exported` follows."""
        try:
            given = {
                "folder": self.folder.text(),
                "cluster": self.cluster().model_dump(mode="json"),
                "root": self.root.text() or None,
                "cluster_root": self.cluster_root.text() or None,
            }
            request = self._request(export=given)
        except GempickError as error:
            self._say(_without_options(error.sentence))
            return
        self._working = True
        self.submit.setEnabled(False)
        self.only.setEnabled(False)
        self._say("")
        self.estimate.setText("Writing the job folder: templates, masks, plan, script...")

        def written(folder: str) -> None:
            if self._closed:
                self._controller.said.emit(f"The job is in {folder}; it was not submitted.", "info")
                return
            choices = {"parent": str(Path(folder).parent), "maps": self.maps.isChecked()}
            choices |= {"root": self.root.text(), "cluster_root": self.cluster_root.text()}
            remembered.remember_cluster(self.values, choices)
            self._working = False
            self.accept()
            self.exported.emit(Path(folder), submit)

        self._task = self._tasks.start(written, **request)

    def done(self, result: int) -> None:
        self._closed = True
        if self._task is not None and self._task is self._tasks.current:
            self._tasks.cancel()
        self._controller.said.disconnect(self._said)
        super().done(result)


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setStyleSheet("font-weight: bold;")
    return label


def _without_options(sentence: str) -> str:
    """Return a sentence about cluster settings with the names of the fields in place of options."""
    for name, label in (*_PAIRS, *_MORE, *_LINES, ("environment", "Environment")):
        sentence = sentence.replace(f"--{name.replace('_', '-')}:", f"{label}:")
    return sentence


def _free_job_folder(controller: Controller, choices: dict[str, Any]) -> Path:
    """Return a folder for the job that does not exist: where the last one was made, else beside the results."""
    beside = Path.home() if controller.folder is None else controller.folder.path.parent
    parent = Path(choices.get("parent") or beside)
    return _free(parent if parent.is_dir() else beside, "gempick_job")


def _free(parent: Path, name: str) -> Path:
    number, found = 1, parent / name
    while found.exists():
        number += 1
        found = parent / f"{name}_{number}"
    return found
