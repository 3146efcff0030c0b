"""The choice of the score in the Tune panel, and what it has learned."""

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit

from napari_gempick.widgets.panels.score import DIAMETERS, SIDE, AskDialog, bars_of


def test_the_score_is_chosen_taught_and_shown(picked, qtbot):
    controller, score = picked.controller, picked.tune.score
    choice = score.form.fields["score"].native
    assert choice.currentText() == "NCC" and not score.bars.isVisibleTo(score)
    score.teach.native.click()
    qtbot.waitUntil(lambda: score.bars.isVisibleTo(score), timeout=20_000)
    assert controller.state.teach and choice.currentText() == controller.state.values["score"] == "learned"
    assert controller.loaded.selection.picks.ncc is not None
    assert "NCC" in score.bars.text() and "1.00" in score.bars.text()  # five particles are too few
    choice.setCurrentText("NCC")
    qtbot.waitUntil(lambda: not score.bars.isVisibleTo(score), timeout=20_000)
    assert "score" not in controller.state.values and not score.teach.native.isChecked()
    controller.undo()
    controller.undo()
    assert choice.currentText() == "NCC" and not controller.state.teach
    controller.redo()
    qtbot.waitUntil(lambda: score.bars.isVisibleTo(score), timeout=20_000)
    assert score.teach.native.isChecked()


def test_a_score_is_learned_after_a_view_was_renamed(picked, qtbot):
    """Candidates keep the names of their search."""
    picked.controller.change_view("particle", name="blob")
    picked.tune.score.form.fields["score"].native.setCurrentText("learned")
    qtbot.waitUntil(lambda: picked.controller.loaded.selection.picks.ncc is not None, timeout=20_000)


def test_each_score_has_thresholds_of_its_own(picked, qtbot, tmp_path):
    """The first look at a score starts from its automatic threshold; after that it is what it was left at."""
    controller, choice, slider = picked.controller, picked.tune.score.form.fields["score"].native, picked.tune.sliders

    def typed(text):
        line = slider["particle"].slider.findChild(QLineEdit)
        line.setText(text)
        qtbot.keyClick(line, Qt.Key.Key_Return)

    def now(score, threshold=None):
        def settled():
            selection = controller.loaded.selection
            assert (selection.picks.ncc is not None) == (score == "learned") and not controller.background.busy
            seen = {slider["particle"].slider.value(), controller.tune().threshold("particle")}
            assert threshold is None or {round(one, 4) for one in seen} == {threshold}

        qtbot.waitUntil(settled, timeout=20_000)
        qtbot.wait(20)  # what follows on a thread may be busy again
        qtbot.waitUntil(settled, timeout=20_000)
        return controller.tune().threshold("particle")

    controller.set_scope(True)  # the micrograph that is shown has thresholds of its own
    typed("0.35")
    controller.only_current = False
    controller.go(1)
    qtbot.waitUntil(lambda: controller.is_shown and controller.choice is not None)
    typed("0.33")
    steps = len(controller.history._past)
    choice.setCurrentText("learned")
    first = now("learned")
    assert len(controller.history._past) == steps + 1
    qtbot.mouseClick(picked.tune.automatic, Qt.MouseButton.LeftButton)
    assert now("learned") == first != 0.33, "that is the automatic one"
    assert controller.state.tune_of("one").threshold("particle") == first
    typed("0.77")
    choice.setCurrentText("NCC")
    now("ncc", 0.33)
    assert controller.state.tune_of("one").threshold("particle") == 0.35
    choice.setCurrentText("learned")
    now("learned", 0.77)
    for threshold in (0.33, 0.77, round(first, 4)):
        controller.undo()
        now("ncc" if threshold == 0.33 else "learned", threshold)
    controller.undo()
    now("ncc", 0.33)
    controller.redo()
    now("learned", round(first, 4))
    controller.change_view("particle", name="blob")
    assert controller.state.aside["ncc"]["one"] == {"particle": 0.35, "blob": 0.35}
    controller.save_now()
    known = controller.state.aside
    assert controller.open_folder(tmp_path / "session") and controller.state.aside == known


def test_results_without_decoys_have_the_ncc_only(picked, qtbot):
    from dataclasses import replace

    controller, score = picked.controller, picked.tune.score
    assert score.isEnabled()
    selection = controller.loaded.selection
    bare = selection.with_candidates(replace(selection.candidates, decoys=None))
    controller.loaded = replace(controller.loaded, selection=bare)
    controller.loaded_changed.emit()
    assert not score.isEnabled()


def test_a_bar_for_each_weight():
    text = bars_of({"ncc": 0.6, "local mean": -0.3, "power": 0.0}, 3)
    lines = text.split("<tr>")[1:]
    assert [line.count("▇") for line in lines] == [12, 6, 1, 0]
    assert "#d9655b" in lines[1] and "−0.30" in lines[1] and "#d9655b" not in lines[0]
    assert "with 3 corrections" in lines[3] and "corrections" not in bars_of({"ncc": 1.0}, 0)


def test_answers_by_key_label_candidates_of_all_micrographs(picked, qtbot):
    controller, score = picked.controller, picked.tune.score
    score.ask.click()
    qtbot.waitUntil(lambda: bool(score.findChildren(AskDialog)), timeout=20_000)
    (dialog,) = score.findChildren(AskDialog)
    assert controller.state.teach
    asked = [one for one, _ in dialog._asked]
    assert {one.stem for one in asked} == {"one", "two"} and len(asked) == 20
    assert dialog.words.text().startswith(f"1 of 20: {asked[0].stem}, particle, NCC ")
    shown = [label.text() for label in dialog.findChildren(QLabel)]
    assert "Is there a particle in the circle?" in shown, "not every window has a title bar"
    at = dialog.picture.pixmap().toImage().pixelColor(SIDE // 2 + round(SIDE / DIAMETERS / 2), SIDE // 2)
    assert at.red() - at.blue() > 60, "the circle of the diameter, yellow on grey"
    assert dialog.isModal(), "picks are not corrected elsewhere meanwhile"
    for key in (Qt.Key.Key_Y, Qt.Key.Key_N, Qt.Key.Key_S):
        qtbot.keyClick(dialog, key)
    assert dialog.words.text().startswith("4 of 20")
    good, bad = asked[0], asked[1]
    assert controller.state.edits[good.stem].added == (good.pick,)
    assert controller.state.edits[bad.stem].rejected == ((bad.pick.x, bad.pick.y),)
    qtbot.waitUntil(lambda: controller.selections.teacher.learned.labels == 2, timeout=20_000)
    for _ in range(17):
        dialog.skip.click()
    qtbot.waitUntil(lambda: not score.findChildren(AskDialog))
    controller.undo()
    assert controller.state.edits[bad.stem].rejected == ()


def test_candidates_of_a_folder_that_was_left_are_not_asked_about(picked, qtbot, tmp_path):
    controller, score = picked.controller, picked.tune.score
    score.ask.click()
    qtbot.waitUntil(lambda: bool(score.findChildren(AskDialog)), timeout=20_000)
    (dialog,) = score.findChildren(AskDialog)
    controller.use_folder(tmp_path / "other")
    dialog.yes.click()
    assert not any(edits.added for edits in controller.state.edits.values())
    qtbot.waitUntil(lambda: not score.findChildren(AskDialog))
    controller.open_folder(tmp_path / "session")
    qtbot.waitUntil(lambda: controller.choice is not None, timeout=20_000)
    score.ask.click()
    controller.use_folder(tmp_path / "another")
    qtbot.waitUntil(lambda: not controller.background.busy, timeout=20_000)
    qtbot.wait(50)
    assert not score.findChildren(AskDialog)
