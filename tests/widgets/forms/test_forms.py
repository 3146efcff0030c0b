"""Forms made from declarations: what editors show, what they tell, and what they leave alone."""

import re
from pathlib import Path
from typing import Literal

import pytest
from magicgui.widgets import Container
from pydantic import BaseModel
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication, QLabel, QScrollArea, QVBoxLayout, QWidget

import napari_gempick.widgets
from napari_gempick.model.declaration import Paths, declare
from napari_gempick.widgets.forms.forms import Form
from napari_gempick.widgets.panels.template_actions import average_dialog, projection_dialog

EDITORS = re.compile(r"\b(QSpinBox|QDoubleSpinBox|QComboBox|QLineEdit|QCheckBox|QDoubleSlider)\(")


class Kinds(BaseModel):
    """A setting of each kind."""

    length: float | None = declare(None, "A length.", unit="Å", gt=0, empty="from file")
    distance: float | None = declare(None, "A distance.", unit="Å", ge=0, step=10)
    count: int | None = declare(None, "A number.", ge=8, empty="all")
    share: float = declare(0.5, "A share.", ge=0, le=1)
    cores: int = declare(0, "Cores.", ge=0, le=64, empty="all")
    angle: float = declare(4.0, "An angle.", unit="degrees", ge=0, most=360)
    on: bool = declare(True, "Whether.")
    way: Literal["one", "other"] = declare("one", "Which way.")
    word: str = declare("auto", "A word.", empty="auto")
    folds: tuple[str, ...] = declare((), "Words.", kind="per view", empty="none")
    bounds: str | None = declare(None, "Bounds.", kind="bounds", least=-9, most=9, step=0.1, digits=2)
    file: str | None = declare(
        None, "A file.", kind="path", paths=Paths("none", "File", "Folder", "*", "auto", "Found")
    )
    rows: tuple[str, ...] = declare((), "Lines.", kind="lines")


class Made:
    """The form in a scroll area, and what it told."""

    def __init__(self, qtbot):
        self.edited, self.refused = [], []
        self.form = Form(Kinds, Kinds.model_fields, lambda *told: self.edited.append(told), self._refused)
        self.area = QScrollArea()
        inside = QWidget()
        rows = QVBoxLayout(inside)
        rows.addWidget(self.form.native)
        filler = QLabel()
        filler.setMinimumHeight(2000)
        rows.addWidget(filler)
        self.area.setWidget(inside)
        self.area.setWidgetResizable(True)
        self.area.resize(372, 500)
        qtbot.addWidget(self.area)
        self.area.show()
        qtbot.waitExposed(self.area)

    def _refused(self, sentence, kind):
        self.refused.append(sentence)

    def native(self, name):
        return self.form.fields[name].native


@pytest.fixture
def made(qtbot):
    return Made(qtbot)


def wheel(widget):
    """Turn the wheel over a widget; returns whether the widget took it, or left it to what is behind."""
    centre = QPointF(widget.rect().center())
    place = QPointF(widget.mapToGlobal(widget.rect().center()))
    turn = (QPoint(0, -120), QPoint(0, -120), Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier)
    event = QWheelEvent(centre, place, *turn, Qt.ScrollPhase.NoScrollPhase, False)
    QApplication.sendEvent(widget, event)
    return event.isAccepted()


def test_it_is_a_container_of_magicgui(made):
    assert isinstance(made.form, Container) and [one.name for one in made.form] == list(Kinds.model_fields)
    assert made.form["angle"].value == 4.0 and made.form["way"].choices == ("one", "other")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("length", "from file"),
        ("distance", "auto"),
        ("count", "all"),
        ("cores", "all"),
        ("angle", "4.0°"),
        ("word", ""),
    ],
)
def test_what_is_empty_is_a_word(made, name, text):
    editor = made.native(name)
    assert editor.text() == text and editor.accessibleName() == name.capitalize() and editor.toolTip()


@pytest.mark.parametrize(
    ("name", "value", "told", "back"),
    [
        ("length", 12.5, 12.5, None),
        ("distance", 0.0, 0.0, None),
        ("count", 8, 8, None),
        ("share", 0.25, 0.25, 0.5),
        ("cores", 3, 3, 0),
        ("angle", 0.0, 0.0, 4.0),
    ],
)
def test_numbers_tell_what_is_not_the_default(made, name, value, told, back):
    editor = made.native(name)
    editor.setValue(value)
    editor.setValue(editor.minimum() if back is None else back)
    assert made.edited == [(name, told), (name, None)]
    assert isinstance(told, type(made.edited[0][1]))


def test_whole_numbers_below_the_limit_are_empty(made):
    editor = made.native("count")
    editor.setValue(3)
    assert editor.text() == "all" and not made.edited


def test_other_kinds(made, tmp_path):
    made.native("on").click()
    made.native("way").setCurrentText("other")
    made.native("rows").setPlainText("one\n\ntwo")
    made.form.fields["file"].take("auto")
    made.form.fields["file"].take(str(tmp_path / "missing"))
    made.form.fields["file"].take(str(tmp_path))
    assert made.edited == [
        ("on", False), ("way", "other"), ("rows", ("one", "two")), ("file", "auto"), ("file", str(tmp_path)),
    ]  # fmt: skip
    assert len(made.refused) == 1 and "does not exist; choose a file or a folder, or auto" in made.refused[0]


def test_arrow_keys_begin_at_zero(made):
    bounds = made.form.fields["bounds"]
    bounds.low.stepBy(1)
    assert made.edited[-1] == ("bounds", "0,") and bounds.low.text() == "from 0.00"
    bounds.low.stepBy(-1)
    assert made.edited[-1] == ("bounds", "-0.1,")
    bounds.high.setValue(-2.0)
    assert made.edited[-1] == ("bounds", "-2,-2")


def test_showing_tells_nobody(made):
    values = {"length": 3.0, "count": 9, "on": False, "way": "other", "word": "full", "folds": ["2", "top=3"]}
    values |= {"bounds": "-1,2", "file": "/a/b", "rows": ("x",), "cores": 4}
    made.form.show_values(values)
    assert not made.edited
    shown = {name: made.form[name].value for name in values}
    assert shown == values and made.native("folds").text() == "2, top=3"
    made.form.show_values({})
    assert made.form["length"].value is None and made.native("folds").text() == "" and not made.edited


def test_the_wheel_scrolls_past_editors(made, qtbot):
    made.area.activateWindow()
    for name in ("length", "count", "cores", "angle", "way"):
        editor, other = made.native(name), made.native("word")
        other.setFocus()
        qtbot.waitUntil(other.hasFocus)
        before = made.form[name].value
        assert not wheel(editor) and made.form[name].value == before, name
    editor = made.native("angle")
    editor.setFocus()
    qtbot.waitUntil(editor.hasFocus)
    assert wheel(editor) and made.form["angle"].value == 3.0


def test_what_is_being_typed_stays(made, qtbot):
    made.area.activateWindow()
    for name, text in (("angle", "7"), ("word", "hal")):
        line = made.native(name) if name == "word" else made.native(name).lineEdit()
        made.native(name).setFocus()
        qtbot.waitUntil(made.native(name).hasFocus)
        line.selectAll()
        qtbot.keyClicks(line, text)
        made.form.show_values({})
        assert line.text().startswith(text) and not made.edited
        line.clear()
        qtbot.keyClick(line, Qt.Key.Key_Return)
        made.edited.clear()


def test_dialogs_ask_by_the_same_editors(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    assert projection_dialog(parent, "/maps/my=map.mrc").asdict() == {"name": "my_map", "symmetry": "C1", "step": 15.0}
    asked = average_dialog(parent, 180.0, by_hand=0, seen=9)
    assert asked.asdict() == {"name": "average", "diameter": 180.0}  # there is nothing to choose
    asked = average_dialog(parent, 180.0, by_hand=4, seen=9)
    assert asked.asdict() == {"name": "average", "diameter": 180.0, "only": True}


def test_no_editor_of_a_setting_is_made_by_hand():
    folder = Path(napari_gempick.widgets.__file__).parent
    found = {path.name: EDITORS.findall(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))}
    assert {name: calls for name, calls in found.items() if calls} == {}
