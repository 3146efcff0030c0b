"""New templates: projections of a 3D map, averages of picks, and the dialog of each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from magicgui.widgets import Dialog
from qtpy.QtWidgets import QLayout

from napari_gempick.io.names import free_path, split_suffix
from napari_gempick.io.stack import AS_IN_MICROGRAPHS, write_mrc
from napari_gempick.model.errors import InputError
from napari_gempick.model.geometry import box_over_diameter
from napari_gempick.widgets.forms.editors import edit
from napari_gempick.widgets.forms.parts import shorten
from napari_gempick.widgets.state.look import counted
from napari_gempick.workflows.average import average
from napari_gempick.workflows.templates import project_files

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_gempick.widgets.state.controller import Controller


WIDTH = 360


def project(controller: Controller, path: Path, name: str, symmetry: str, angle_step: float) -> None:
    """Add the projections of a map as a view: dark, as particles in micrographs are, each under its own mask."""
    folder = _folder(controller)
    if folder is None or not controller.accepts_name(name):
        return
    output = free_path(folder, name, ".mrcs")
    controller.notified.emit(f"Projecting {path.name}; the view appears when it is done.", "info")

    def work() -> dict[str, object]:
        return project_files(
            path,
            output,
            symmetry=symmetry,
            angle_step=angle_step,
            invert=True,
            progress=controller.background.stop_if_closed,
        )

    def take(made: dict[str, object]) -> None:
        for note in made["notes"]:  # type: ignore[attr-defined]
            controller.notified.emit(str(note), "warning")
        _add(controller, name, output, str(made["masks"]))
        count = counted(int(made["views"]), "projection")  # type: ignore[call-overload]
        controller.notified.emit(f"{count} of {path.name} added as the view {name}.", "info")

    controller.background.do(work, take)


def average_picks(controller: Controller, name: str, diameter: float, *, only_by_hand: bool) -> None:
    """Add the average of the picks that are seen on the current micrograph, aligned to each other, as a view."""
    folder, loaded = _folder(controller), controller.loaded
    if folder is None or loaded is None or loaded.image is None or not controller.accepts_name(name):
        return
    if loaded.pixel_size is None:
        controller.notified.emit("The pixel size is unknown; type it in part 1 first.", "error")
        return
    places = [(added.x, added.y) for added in controller.edits().added]
    if not only_by_hand and loaded.selection is not None and controller.choice is not None:
        picks = loaded.selection.result(controller.choice)
        places = list(zip(picks.x.tolist(), picks.y.tolist(), strict=True))
    image, pixel_size = loaded.image, loaded.pixel_size
    box = box_over_diameter(diameter, pixel_size)
    output = free_path(folder, name, ".mrc")

    def work() -> int:
        if not places:
            raise InputError("There are no picks to average: click some particles with the tool Add.")
        made = average([image], [np.array(places)], box, progress=controller.background.stop_if_closed)
        write_mrc(output, made.images[0], pixel_size, note=AS_IN_MICROGRAPHS)
        return len(made.x)

    def take(count: int) -> None:
        controller.notified.emit(f"{counted(count, 'particle')} averaged as the view {name}.", "info")
        _add(controller, name, output, f"circle:{diameter:g}")

    controller.background.do(work, take)


def _folder(controller: Controller) -> Path | None:
    if controller.folder is None:
        controller.notified.emit("Add micrographs first: new templates are kept with the results.", "info")
        return None
    return controller.folder.path / "templates"


def _add(controller: Controller, name: str, output: Path, mask: str) -> None:
    taken = {view.name for view in controller.state.views}
    free = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 1000))) if n not in taken)
    controller.add_view(free, [str(output)], mask=mask)


def mask_words(file: str) -> str:
    """Return how the list of masks names a file; "" for the entry that asks for one."""
    return f"mask: {shorten(Path(file).name, 22)}" if file else "mask file..."


def projection_dialog(parent: QWidget, path: str) -> Dialog:
    """Return the dialog that asks for name, symmetry and angle step of the projections of a map."""
    tip = "Symmetry of the map: C1, C4, D2, D7, T, O, I, ...; only different views are made"
    step = {"min": 2.0, "max": 90.0, "suffix": "°", "tip": "Mean distance of neighbouring views [degrees]"}
    return _dialog(
        parent,
        "Project a map",
        edit(str, split_suffix(Path(path).name)[0].replace("=", "_"), name="name", label="Name of the view"),
        edit(str, "C1", name="symmetry", label="Symmetry", tip=tip),
        edit(float, 15.0, name="step", label="Angle step", **step),
    )


def average_dialog(parent: QWidget, diameter: float, *, by_hand: int, seen: int) -> Dialog:
    """Return the dialog that asks for the name of a view, the diameter, and which picks to average."""
    tip = "Diameter of the particle; the box is 1.5 times as wide [Å]"
    size: dict[str, Any] = {"min": 10.0, "max": 5000.0, "step": 10.0, "digits": 0, "suffix": " Å", "tip": tip}
    only = edit(bool, by_hand > 0, name="only", label=f"Only the {by_hand} added by hand, not all {seen} seen")
    return _dialog(
        parent,
        "Average picks",
        edit(str, "average", name="name", label="Name of the view"),
        edit(float, diameter, name="diameter", label="Particle diameter", **size),
        *([only] if 0 < by_hand < seen else []),
    )


def _dialog(parent: QWidget, title: str, *editors: Any) -> Dialog:
    made = Dialog(widgets=editors, parent=parent)
    made.native.setWindowTitle(title)
    made.native.layout().setSizeConstraint(QLayout.SizeConstraint.SetDefaultConstraint)  # or Qt forgets the next line
    made.native.setMinimumWidth(WIDTH)  # of the name of a view, which is cut off otherwise
    return made


def ask(dialog: Dialog) -> dict[str, Any] | None:
    """Show a dialog; return the values by the names of the editors, None if it was cancelled."""
    return dialog.asdict() if dialog.exec() else None
