"""The dialog that makes a cluster job of the current settings and micrographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QDialog, QFileDialog, QHBoxLayout, QLabel, QPlainTextEdit, QScrollArea, QVBoxLayout, QWidget
from superqt.utils import qdebounced, signals_blocked

from napari_gempick.cluster.estimate import Measured, size
from napari_gempick.cluster.export import preview_script
from napari_gempick.cluster.script import site_names
from napari_gempick.cluster.settings import ClusterSettings, make_cluster
from napari_gempick.io.names import free_path
from napari_gempick.model.declaration import declarations, groups, names_with
from napari_gempick.model.errors import GempickError
from napari_gempick.model.settings import PickSettings
from napari_gempick.results.run_file import row_of
from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.forms import Form, caption, editor_of
from napari_gempick.widgets.forms.parts import FRAMED, Fold, button, primary, row, small
from napari_gempick.widgets.panels import remembered
from napari_gempick.widgets.state.exporting import shared_settings

if TYPE_CHECKING:
    from napari_gempick.widgets.background.background_tasks import BackgroundTasks
    from napari_gempick.widgets.state.controller import Controller

_SITES = {
    "slurm": "Slurm",
    "pbs": "PBS / OpenPBS",
    "sge": "SGE",
    "lsf": "LSF",
    "mpirun": "this computer, without a scheduler",
}
_OTHER = "\n"
_HERE, _THERE = "Folder of all micrographs on this computer", "What that folder is called on the cluster"


class ClusterDialog(QDialog):
    """Where the job runs, what it will take, and the script that is submitted.

    Parameters
    ----------
    tasks : BackgroundTasks
        Measures and exports in a process of its own.
    """

    exported = Signal(object, bool)
    """Job folder, and whether it shall be submitted."""

    def __init__(self, parent: QWidget, controller: Controller, tasks: BackgroundTasks) -> None:
        super().__init__(parent)
        self.setWindowTitle("Submit to cluster")
        self._controller, self._tasks = controller, tasks
        self.values: dict[str, Any] = remembered.last_cluster()
        self.measured: Measured | None = None
        self._views = self._input_bytes = 0
        self._measured_gpu: bool | None = None
        self._working = self._closed = False
        self._changed = qdebounced(self._show, timeout=120)
        self._lay_out(remembered.last_choices())
        controller.notified.connect(self._said)
        self.resize(1000, 640)
        self._changed()  # once it is drawn: templates of scripts take a while

    # layout

    def _lay_out(self, choices: dict[str, Any]) -> None:
        controller = self._controller
        shown = groups(ClusterSettings)
        self._sites: list[tuple[str, str]] = []
        self._fill_sites()
        environment = {"height": 58}
        options = {"site": {"choices": lambda _: self._sites}, "environment": environment}
        self._forms = {
            heading: Form(ClusterSettings, names, self._edited, columns=1 + (heading == "Resources"), options=options)
            for heading, names in shown.items()
        }
        self.fields = {name: field for form in self._forms.values() for name, field in form.fields.items()}
        for form in self._forms.values():
            form.show_values(self.values)
        self.lines = {name: self.fields[name].native for name in names_with(ClusterSettings, kind="lines")}
        self.lines["environment"].setPlaceholderText("module load openmpi")
        self.site = self.fields["site"].native
        maps = declarations(PickSettings)["save_maps"]
        tip = "Maps of every micrograph, to look at afterwards; thresholds can be moved without them, too"
        self._maps = editor_of(maps, tip=tip)
        self._maps.show_value(bool(choices.get("maps", False)))
        self.maps = self._maps.native
        self._maps_label = maps.label
        self._folder = edit(
            str,
            str(_free_job_folder(controller, choices)),
            label="Job folder",
            tip="A new folder, on a disk that the nodes see; results come into it",
        )
        choose = button("...", "Choose the folder in which the job's folder is made", self._ask_folder)
        choose.setFixedWidth(30)
        place = row(caption(self._folder), self._folder.native, choose, wide=1)
        elsewhere = Fold("Micrographs lie elsewhere on the cluster", "The same files under another path")
        self._root = edit(str, choices.get("root", ""), label="Folder here", tip=_HERE)
        self._cluster_root = edit(str, choices.get("cluster_root", ""), label="Folder there", tip=_THERE)
        self.folder, self.root, self.cluster_root = (
            one.native for one in (self._folder, self._root, self._cluster_root)
        )
        for one in (self._folder, self._root, self._cluster_root):
            one.native.textChanged.connect(lambda _: self._changed())
        self._maps.changed.connect(lambda _: self._changed())
        roots = Container(widgets=[self._root, self._cluster_root])
        roots.margins = (0, 0, 0, 0)
        elsewhere.rows.addWidget(roots.native)
        elsewhere.set_open(bool(self.root.text()))
        more = Fold("More", "Names, launcher, distribution, options of the scheduler")
        more.rows.addWidget(self._forms["More"].native)
        left = QWidget()
        rows = QVBoxLayout(left)
        rows.setContentsMargins(0, 0, 6, 0)
        rows.addWidget(self._forms["Site"].native)
        rows.addLayout(place)
        for heading, form in self._forms.items():
            if heading not in ("Site", "More"):
                rows.addWidget(form.native)
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
        self.script.setStyleSheet(FRAMED)
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
        layout = QVBoxLayout(self)
        layout.addLayout(columns, 1)
        layout.addLayout(row(self.problem, self.stop, self.only, self.submit, wide=0))

    def _fill_sites(self) -> None:
        """List the schedulers, the templates of the user, and the cryoSPARC folder that was chosen."""
        chosen = self.values.get("site", "slurm")
        known = site_names()
        names = (*(name for name in _SITES if name in known), *(name for name in known if name not in _SITES))
        self._sites = [(_SITES.get(name, name), name) for name in names]
        if chosen not in names:
            self._sites.append((f"cryoSPARC: {Path(chosen).name}", chosen))
        self._sites.append(("cryoSPARC cluster folder...", _OTHER))

    # what the person does

    def _choose_site(self) -> None:
        """Ask for the folder of a cryoSPARC lane."""
        site = QFileDialog.getExistingDirectory(self, "Folder with cluster_info.json and cluster_script.sh")
        if site:
            self.values["site"] = site
        self._fill_sites()
        with signals_blocked(self.site):
            self.fields["site"].reset_choices()
        self._forms["Site"].show_values(self.values)

    def _ask_folder(self) -> None:
        here = Path(self.folder.text())
        folder = QFileDialog.getExistingDirectory(self, "Folder in which the job's folder is made", str(here.parent))
        if folder:
            self.folder.setText(str(free_path(Path(folder), here.name)))

    def _edited(self, name: str, value: Any) -> None:
        if value == _OTHER:
            self._choose_site()
        else:
            self.values.pop(name, None)
            if value is not None:
                self.values[name] = value
        self._changed()

    def cluster(self) -> ClusterSettings:
        """Return the settings of the cluster. Raises SettingsError."""
        return make_cluster(self.values)

    def settings(self) -> PickSettings:
        """Return the settings of the search, with the maps that shall be kept. Raises SettingsError."""
        return shared_settings(self._controller, save_maps=self.maps.isChecked())

    # estimate and preview

    def _measure(self) -> None:
        """Measure one micrograph in the helping process; again when GPUs are asked for, or no longer."""
        gpu = int(self.values.get("gpus_per_node", 0)) > 0
        if gpu == self._measured_gpu:
            return
        try:
            request = self._request(measure={"gpu": gpu})
        except GempickError:
            return  # reported by _show
        self._measured_gpu = gpu

        def take(result: dict[str, Any]) -> None:
            if gpu == self._measured_gpu and not self._closed:
                self.measured = Measured(**result["measured"])
                self._views, self._input_bytes = result["views"], result["input_bytes"]
                self._show()

        self._tasks.start(take, **request)

    def _request(self, **what: Any) -> dict[str, Any]:
        files = self._controller.state.kept
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
                self.maps.setText(self._maps_label + (f" ({size(maps)})" if maps else ""))
            script, remarks = preview_script(settings, Path(self.folder.text()), cluster, memory)
            self.script.setPlainText(script)
            if Path(self.folder.text()).exists():
                problem = "The job folder already exists; name a new one."
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
        """Show an error of the export here too, and let the person fix it."""
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
                self._controller.notified.emit(f"The job is in {folder}; it was not submitted.", "info")
                return
            choices = {"parent": str(Path(folder).parent), "maps": self.maps.isChecked()}
            choices |= {"root": self.root.text(), "cluster_root": self.cluster_root.text()}
            remembered.remember_cluster(self.values, choices)
            self._working = False
            self.accept()
            self.exported.emit(Path(folder), submit)

        self._tasks.start(written, **request)

    def done(self, result: int) -> None:
        self._closed = True
        self._changed.cancel()
        if result != QDialog.DialogCode.Accepted:
            self._tasks.cancel()
        self._controller.notified.disconnect(self._said)
        super().done(result)


def _heading(text: str) -> QLabel:
    label = QLabel(text)
    label.setStyleSheet("font-weight: bold;")
    return label


def _without_options(sentence: str) -> str:
    """Return a sentence about cluster settings with the names of the fields in place of options."""
    for one in declarations(ClusterSettings).values():
        sentence = sentence.replace(f"{one.flag}:", f"{one.label}:")
    return sentence


def _free_job_folder(controller: Controller, choices: dict[str, Any]) -> Path:
    """Return a folder for the job that does not exist: where the last one was made, else beside the results."""
    beside = Path.home() if controller.folder is None else controller.folder.path.parent
    parent = Path(choices.get("parent") or beside)
    return free_path(parent if parent.is_dir() else beside, "gempick_job")
