"""The list of micrographs, sorted, searched and shortened by hand; and the line of messages."""

from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QTextBrowser

from napari_gempick.widgets.forms.forms import in_window_words


def names(panel):
    return [panel.list.topLevelItem(n).text(0) for n in range(panel.list.topLevelItemCount())]


def press(hand, panel, name, modifier=Qt.KeyboardModifier.NoModifier):
    item = panel.list.topLevelItem(names(panel).index(name))
    place = panel.list.visualItemRect(item).center()
    hand.qtbot.mouseClick(panel.list.viewport(), Qt.MouseButton.LeftButton, modifier, place)


def test_sorted_stepped_and_shortened(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    controller, panel = hand.controller, hand.dock.micrographs
    header = panel.list.header()

    def sort(column):
        middle = header.sectionViewportPosition(column) + header.sectionSize(column) // 2
        hand.qtbot.mouseClick(header.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(middle, header.height() // 2))

    assert names(panel) == ["one", "two"] and [panel._items[n].text(2) for n in ("one", "two")] == ["3", "2"]
    sort(2)
    assert names(panel) == ["one", "two"], "most picks first"
    assert header.isSortIndicatorShown() and header.sortIndicatorSection() == 2
    sort(2)
    assert names(panel) == ["two", "one"] and panel.place.text() == "2 of 2"
    hand.qtbot.keyClick(hand.dock.tune.gallery, Qt.Key.Key_BracketLeft)
    assert controller.stem == "two", "the one before in the list as it is seen"
    hand.idle()
    hand.click(panel.next)
    assert controller.stem == "one" and not panel.next.isEnabled()
    assert panel.window().focusWidget() is panel.list, "not the next field, which would take the keys that follow"
    hand.idle()
    panel.step(-1)
    hand.idle()
    controller.set_threshold(None, 0.95)
    hand.idle()
    assert names(panel) == ["two", "one"], "rows stay under the mouse"
    sort(2)
    assert names(panel) == ["one", "two"], "as they were added"
    press(hand, panel, "one")
    menu = panel.menu_of_selected()
    assert [action.text() for action in menu.actions() if action.text()] == [
        "Search",
        "Show the folder",
        "Remove from the list",
    ]
    hand.idle()
    hand.qtbot.keyClick(panel.list, Qt.Key.Key_Delete)
    assert names(panel) == ["two"] and controller.stem == "two"
    controller.undo()
    assert names(panel) == ["one", "two"]
    hand.idle()
    hand.controller.set_value("angle_step", 0.5)
    press(hand, panel, "one")
    hand.idle()
    hand.dock.searches.run_this()
    hand.qtbot.keyClick(panel.list, Qt.Key.Key_Delete)
    hand.until(lambda: hand.dock.searches.run is None)
    hand.idle()
    assert names(panel) == ["two"] and not [text for kind, text in hand.notified if kind == "error"], (
        "the search ends too"
    )


def test_messages_are_kept_and_speak_of_fields(hand):
    messages = hand.dock.messages
    assert "Start in part 1" in messages.text()
    height = messages.height()
    hand.controller.notified.emit("m.mrc has no pixel size in its header; give --pixel-size in Å.", "warning")
    assert messages.text() == "m.mrc has no pixel size in its header; give Pixel size in Å."
    messages._reading.timeout.emit()
    assert "Start in part 1" in messages.text(), "what to do next comes back"
    hand.controller.notified.emit("Views <b> and <i>.", "info")
    assert messages.text() == "Views <b> and <i>." and messages.textFormat() == Qt.TextFormat.PlainText
    messages.hint("Next.")
    assert messages.text() == "Views <b> and <i>.", "a sentence stays long enough to be read"
    messages._reading.stop()
    messages.hint("Next.")
    messages.hint("")
    assert not messages.text(), "nothing is next"
    hand.controller.notified.emit("word " * 200, "info")
    assert messages.height() == height and messages.text().endswith("…") and len(messages.kept) == 3
    dialog = messages.show_all()
    assert "has no pixel size" in dialog.findChild(QTextBrowser).toPlainText()
    dialog.close()
    assert in_window_words("the circle of --diameter, else --no-such") == "the circle of Diameter, else --no-such"
