"""Picks against a truth: points, counts, tolerance, the next micrograph, removal."""

import numpy as np
import pytest

from napari_gempick.widgets.panels.compare import COMPARISON, KINDS


def write_truth(folder, planted, extra=()):
    for name, centres in planted.items():
        rows = [f"{x},{y},particle" for x, y in (*centres, *extra)]
        (folder / f"{name}_truth.csv").write_text("\n".join(["x,y,view", *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def compared(picked, planted, tmp_path, qtbot):
    """The dock on two micrographs, compared with a truth that has one particle more on each."""
    truth = tmp_path / "truth"
    truth.mkdir()
    write_truth(truth, planted, [(200.0, 30.0)])
    picked.comparison.load(truth)
    qtbot.waitUntil(lambda: COMPARISON in picked.viewer.layers, timeout=20_000)
    return picked


def kinds(dock):
    layer = dock.viewer.layers[COMPARISON]
    return {kind: int(np.sum(np.asarray(layer.features["kind"]) == kind)) for kind in KINDS}


def test_points_follow_the_threshold(compared, qtbot):
    layer, compare = compared.viewer.layers[COMPARISON], compared.compare
    assert kinds(compared) == {"matched": 3, "only here": 0, "only there": 1}
    assert compare.words.text() == "matched 3, only here 0, only there 1<br>recall 0.75, precision 1.00"
    colours = {tuple(np.round(colour[:3], 2)) for colour in layer.face_color}
    assert len(colours) == 2
    assert {str(symbol) for symbol in layer.symbol} == {"disc", "square"}
    assert compared.viewer.layers.selection.active == compared.layers.layer("Picks")
    np.testing.assert_allclose(layer.scale, 2.0)
    compared.controller.set_threshold(None, 0.1)
    here = len(compared.controller.choice) - 3
    assert here > 0
    qtbot.waitUntil(lambda: kinds(compared)["only here"] >= here - 1)
    compared.controller.set_threshold(None, 0.99)
    qtbot.waitUntil(lambda: kinds(compared) == {"matched": 0, "only here": 0, "only there": 4})
    qtbot.waitUntil(lambda: "recall 0.00, precision –" in compare.words.text())


def test_next_micrograph_and_all_of_them(compared, qtbot):
    compare = compared.compare
    qtbot.waitUntil(lambda: compare.everything.text() != "", timeout=20_000)
    assert "All 2 micrographs:</b><br>matched 5, only here 0, only there 2<br>recall 0.71" in compare.everything.text()
    compared.controller.go(compared.controller.current + 1)
    qtbot.waitUntil(lambda: compare.words.text().startswith("matched 2, only here 0, only there 1"), timeout=20_000)
    assert kinds(compared) == {"matched": 2, "only here": 0, "only there": 1}
    compared.controller.go(compared.controller.current - 1)
    qtbot.waitUntil(lambda: kinds(compared) == {"matched": 3, "only here": 0, "only there": 1}, timeout=20_000)


def test_tolerance_in_both_units(compared, qtbot):
    compare, comparison = compared.compare, compared.comparison
    radius = comparison.diameter_px() / 2
    assert compare.tolerance.text() == f"auto: {2 * radius:.0f} Å"
    compare.unit.setCurrentText("px")
    qtbot.waitUntil(lambda: compare.tolerance.text() == f"auto: {radius:.0f} px")
    compare.unit.setCurrentText("Å")
    compare.tolerance.setValue(0.1)  # Å, where pixels are 2 Å
    qtbot.waitUntil(lambda: kinds(compared)["matched"] == 0)
    assert comparison.tolerance_px() == pytest.approx(0.05)
    compare.unit.setCurrentText("px")
    compare.tolerance.setValue(5)
    assert comparison.tolerance_px() == 5
    qtbot.waitUntil(lambda: kinds(compared)["matched"] == 3)


def test_sets_come_and_go(compared, planted, tmp_path, qtbot):
    compare, comparison, viewer = compared.compare, compared.comparison, compared.viewer
    other = tmp_path / "by another program.box"  # a name that fits no micrograph is taken for the one that is shown
    other.write_text("\n".join(f"{x - 20:g} {y - 20:g} 40 40" for x, y in planted["one"][:2]) + "\n", encoding="utf-8")
    comparison.load(other)
    qtbot.waitUntil(lambda: kinds(compared) == {"matched": 2, "only here": 1, "only there": 0})
    assert [compare.sets.itemText(i) for i in range(compare.sets.count())] == ["truth", other.name]
    comparison.show("truth")
    assert kinds(compared)["matched"] == 3
    viewer.layers.remove(COMPARISON)
    qtbot.waitUntil(lambda: not compare.drawn.isChecked())
    compared.controller.set_threshold(None, 0.5)
    assert COMPARISON not in viewer.layers
    compare.drawn.click()
    assert COMPARISON in viewer.layers
    compare.remove.click()
    compare.remove.click()
    assert COMPARISON not in viewer.layers
    assert not comparison.sets and compare.words.text() == ""


@pytest.mark.errors_are_said
def test_a_set_of_other_micrographs_is_an_error(picked, planted, tmp_path, qtbot):
    said = []
    picked.controller.notified.connect(lambda sentence, kind: said.append((kind, sentence)))
    write_truth(tmp_path, {"three": planted["one"], "four": planted["two"]})
    picked.comparison.load(tmp_path)
    qtbot.waitUntil(lambda: bool(said))
    ((kind, sentence),) = said
    assert kind == "error" and "four, three" in sentence and "rename" in sentence
