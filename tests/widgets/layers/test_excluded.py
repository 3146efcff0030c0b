"""The excluded area: shown, edited with a brush, undone, and the same for every command."""

import shlex

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from qtpy.QtWidgets import QApplication

from napari_gempick import read_stack
from napari_gempick.cli import main
from napari_gempick.cluster.export import export_job
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.widgets.layers.excluded import ERASE, PAINT, ExcludedArea
from napari_gempick.widgets.state.exporting import chosen_picks, shared_settings
from napari_gempick.widgets.state.masks import Mask, MaskFiles
from napari_gempick.workflows.retune import retune


def pairs(picks):
    return sorted(zip(np.round(picks.x, 2).tolist(), np.round(picks.y, 2).tolist(), strict=True))


def picks_of(path):
    return pairs(read_coordinates(path).picks)


def brush(hand, tool, *places):
    """Take a tool where it is not in hand, and paint."""
    buttons = hand.dock.tune.excluded.buttons
    if not buttons[tool].isChecked():
        hand.click(buttons[tool])
        hand.until(lambda: hand.dock.excluded.tool == tool)
    before = hand.controller.loaded.selection
    hand.stroke(*places)
    hand.until(lambda: hand.controller.loaded.selection is not before)


def seen(controller):
    """Return the picks that are seen."""
    return pairs(controller.loaded.selection.picks.take(np.flatnonzero(controller.choice.shown)))


@pytest.mark.parametrize("exclude", [None, "auto"])
def test_what_is_painted_counts_at_once_and_for_every_command(hand, searched_once, tmp_path, planted, exclude):
    hand.open_searched(searched_once, tmp_path / "session")
    controller, dock, folder = hand.controller, hand.dock, tmp_path / "session"
    controller.set_value("exclude", exclude)
    hand.idle()
    controller.set_threshold(None, 0.4)
    hand.viewer.reset_view()
    all_of_them, (first, second, _) = seen(controller), planted["one"]
    assert len(all_of_them) == 3
    past = controller.history.undoable
    active = []
    hand.viewer.layers.selection.events.active.connect(active.append)
    hand.click(hand.dock.tune.excluded.shown.native)
    assert hand.dock.excluded.layer is None, "not in the turn of the click"
    hand.until(lambda: hand.dock.excluded.layer is not None)
    hand.viewer.layers.selection.events.active.disconnect()
    assert not active and hand.viewer.layers.selection.active.name == "Picks", "napari's controls stay as they are"
    brush(hand, PAINT, (first[0] - 8, first[1]), first, (first[0] + 8, first[1]))
    assert controller.history.undoable == "edit the excluded area" and dock.excluded.shown
    assert len(seen(controller)) == 2, "a stroke takes the picks under it"
    layer = dock.excluded.layer
    assert np.asarray(layer.data)[round(first[1]), round(first[0])] == 1
    brush(hand, PAINT, second, (second[0] + 6, second[1]))
    assert len(seen(controller)) == 1
    hand.until(lambda: dock.counter.counts["one"] == 1)
    controller.undo()
    hand.until(lambda: len(seen(controller)) == 2)
    assert np.asarray(layer.data)[round(second[1]), round(second[0])] == 0, "a stroke is one step"
    controller.undo()
    hand.until(lambda: seen(controller) == all_of_them)
    assert controller.history.undoable == past
    hand.idle()
    path = folder / "excluded_edited" / "one.mrc.gz"
    controller.save_now()
    assert not path.exists(), "nothing is left of what was undone"
    controller.redo()
    controller.redo()
    hand.until(lambda: len(seen(controller)) == 1)
    brush(hand, ERASE, (second[0] - 4, second[1]), (second[0] + 10, second[1]))
    hand.until(lambda: len(seen(controller)) == 2)
    hand.click(dock.tune.excluded.buttons[ERASE])
    assert dock.excluded.tool == "" and hand.viewer.layers.selection.active == dock.layers.layer("Picks")
    hand.idle()
    wanted = seen(controller)
    controller.save_now()
    mask = read_stack(path).data[0] > 0
    assert mask[round(first[1]), round(first[0])] and not mask[round(second[1]), round(second[0])]

    chosen, _ = chosen_picks(
        controller.state, controller.results, folder, controller.state.files[:1], controller.selections
    )
    assert pairs(chosen[0].picks) == wanted
    dock.search.copy_command()
    words = shlex.split(QApplication.clipboard().text())
    assert words[words.index("--exclude-edited") + 1] == str(folder / "excluded_edited")
    settings = shared_settings(controller)
    job = export_job(settings, controller.state.files, tmp_path / "job", {"site": "mpirun", "tasks_per_node": 1}).job
    assert (job.folder / "exclude_edited/0/excluded_edited/one.mrc.gz").read_bytes() == path.read_bytes()
    assert job.settings.exclude_edited == str(job.folder / "exclude_edited/0/excluded_edited")
    hand.dock.shut()

    changed = {"threshold": ("0.4",), "exclude": exclude}
    run = retune(folder, changed)
    rows = {row["name"]: row for row in run["micrographs"]}
    assert picks_of(folder / "one_autopick.star") == wanted and "edited by hand" in " ".join(rows["one"]["remarks"])
    assert rows["two"]["picks"] == 2 and not rows["two"]["remarks"]
    if exclude is None:
        done = CliRunner().invoke(main, [*words[1:-1], str(tmp_path / "picks")], catch_exceptions=False)
        assert done.exit_code == 0 and picks_of(tmp_path / "picks" / "one_autopick.star") == wanted


def test_a_session_that_is_opened_again_has_the_mask(searched, make_session):
    controller = searched.controller
    excluded = np.zeros((220, 240), bool)
    excluded[:, :120] = True
    controller.exclude(Mask.of(excluded, 2.0))
    searched.wait(lambda: controller.loaded.selection.excluded is not None)
    left = seen(controller)
    searched.idle()
    searched.close()
    again = make_session()
    again.controller.open_folder(searched.folder)
    again.wait(lambda: again.controller.choice is not None)
    again.idle()
    assert seen(again.controller) == left and 0 < len(left) < 3 and all(x >= 119.5 for x, _ in left)
    assert np.array_equal(again.controller.loaded.selection.excluded, excluded)
    again.close()


def test_masks_are_files_of_what_was_decided_last(tmp_path):
    """Undo brings back the file of an earlier session; another folder gets files of its own."""
    random = np.random.default_rng(0)
    first, second = (Mask.of(random.random((33, 47)) < share, 1.5) for share in (0.2, 0.7))
    assert np.array_equal(Mask.of(first.array(), 1.5).array(), first.array()) and first != second
    files = MaskFiles()
    files.want(tmp_path, {"a/one": first})
    files.write()
    path, later = tmp_path / "excluded_edited/a/one.mrc.gz", MaskFiles()
    kept = path.read_bytes()
    for masks, expected in (({"a/one": second}, second), ({}, first), ({"a/one": second, "two": first}, second)):
        later.want(tmp_path, masks)
        later.write()
        assert np.array_equal(read_stack(path).data[0] > 0, expected.array())
    later.want(tmp_path, {})
    later.write()
    assert path.read_bytes() == kept and not (tmp_path / "excluded_edited/two.mrc.gz").exists()


def left_half(session):
    """Exclude the left half of the micrograph that is shown; return the file of the mask."""
    excluded = np.zeros((220, 240), bool)
    excluded[:, :120] = True
    session.controller.exclude(Mask.of(excluded, 2.0))
    session.idle()
    session.controller.save_now()
    return session.controller.folder.path / "excluded_edited" / f"{session.controller.stem}.mrc.gz"


def test_who_moves_on_before_a_mask_is_shown_gets_its_count_too(searched):
    controller, stem = searched.controller, searched.controller.stem
    assert searched.counter.counts[stem] == 3
    controller.exclude(Mask.of(np.ones((220, 240), bool), 2.0))
    controller.go(1 - controller.current)
    searched.idle()
    assert searched.counter.counts[stem] == 0
    controller.go(1 - controller.current)
    controller.undo()
    controller.go(1 - controller.current)
    searched.idle()
    assert searched.counter.counts[stem] == 3


def test_a_folder_that_is_opened_again_while_it_is_open_keeps_its_masks(searched):
    controller = searched.controller
    path = left_half(searched)
    left = seen(controller)
    assert path.exists()
    controller.open_folder(controller.folder.path)
    searched.wait(lambda: controller.choice is not None)
    searched.idle()
    controller.set_threshold(None, 0.41)
    searched.idle()
    controller.save_now()
    assert path.exists() and seen(controller) == left


def test_another_folder_of_results_has_the_masks_of_earlier_sessions(searched, tmp_path):
    """Those of this session too; undo brings the earlier one back there, and other micrographs get none of them."""
    controller, stem = searched.controller, searched.controller.stem
    left_half(searched)
    path = controller.folder.path
    controller.open_folder(path)  # another session: the mask is a file now
    searched.idle()
    assert not controller.state.masks
    earlier = (path / "excluded_edited" / f"{stem}.mrc.gz").read_bytes()
    for number, edited in enumerate((False, True)):
        if edited:
            controller.exclude(Mask.of(np.ones((220, 240), bool), 2.0))
            searched.idle()
        new = tmp_path / f"new{number}"
        assert controller.use_folder(new)
        controller.save_now()
        copy = new / "excluded_edited" / f"{stem}.mrc.gz"
        assert (copy.read_bytes() == earlier) != edited, "what this session edited comes before it"
        controller.undo() if edited else None
        controller.save_now()
        assert copy.read_bytes() == earlier
        controller.open_folder(path)
        searched.idle()
    assert [file.name for file in (new / "excluded_edited").iterdir()] == [f"{stem}.mrc.gz"]


def test_masks_that_cannot_be_copied_are_named_and_the_others_come(searched, tmp_path):
    controller = searched.controller
    path = left_half(searched)
    controller.open_folder(controller.folder.path)
    searched.idle()
    (damaged,) = (file.output_stem for file in controller.state.files if file.output_stem != controller.stem)
    path.with_name(f"{damaged}.mrc.gz").mkdir()  # it cannot be read
    said = []
    controller.notified.connect(lambda sentence, kind: said.append((kind, sentence)))
    assert controller.use_folder(tmp_path / "new")
    searched.idle()
    assert [kind for kind, _ in said] == ["error"] and f"{damaged}.mrc.gz" in said[0][1]
    assert [file.name for file in (tmp_path / "new/excluded_edited").iterdir()] == [path.name]
    assert not controller.results, "those of the other folder"


def test_a_micrograph_of_the_same_name_in_another_folder_is_another(searched, tmp_path):
    controller = searched.controller
    path, stem = left_half(searched), controller.stem
    controller.reject([(float(controller.loaded.selection.picks.x[0]), float(controller.loaded.selection.picks.y[0]))])
    controller.remove_micrographs(range(len(controller.state.files)))
    searched.idle()
    write_mrc(tmp_path / "other" / f"{stem}.mrc", np.random.default_rng(0).standard_normal((90, 80), np.float32), 2.0)
    controller.add_micrographs([tmp_path / "other"])
    searched.wait(lambda: len(controller.state.files) == 1)
    searched.idle()
    controller.save_now()
    assert controller.folder.path.parent == tmp_path / "other"
    assert not controller.state.masks and not controller.state.edits
    assert path.exists() and not (controller.folder.path / "excluded_edited").exists()


def test_a_file_gets_no_results_of_one_that_left_the_list(searched, tmp_path):
    controller = searched.controller
    stem, known = controller.stem, controller.file.path
    write_mrc(tmp_path / "other" / f"{stem}.mrc", np.random.default_rng(0).standard_normal((220, 240), np.float32), 2.0)
    controller.remove_micrographs([controller.current])
    for path in (tmp_path / "other", known):
        controller.add_micrographs([path])
        searched.idle()
    names = {file.path: file.output_stem for file in controller.state.files}
    assert names[known] == stem and names[tmp_path / "other" / f"{stem}.mrc"] not in controller.results


def test_work_that_began_before_a_stroke_leaves_nothing_behind(searched):
    controller = searched.controller
    before, file = controller.state, controller.file
    left_half(searched)
    controller.selections.get(file, before, controller.folder.path, dict(controller.results))  # an export, say
    controller.undo()
    searched.idle()
    assert not controller.state.masks and controller.loaded.selection.excluded is None
    assert len(seen(controller)) == 3


def test_the_overlay_follows_the_eye_and_the_pixel_size(hand, searched_once, tmp_path):
    hand.open_searched(searched_once, tmp_path / "session")
    controller, area = hand.controller, hand.dock.excluded
    area.show(True)
    hand.until(lambda: area.layer is not None)
    layer = area.layer
    controller.set_value("pixel_size", 4.0)
    hand.idle()
    assert tuple(layer.scale) == tuple(hand.dock.layers.layer("Micrograph").scale)
    layer.visible = False  # the eye in napari's list
    assert not area.shown
    left_half(hand)
    layer.visible = True
    assert area.shown and np.asarray(layer.data)[100, 20] == 1 and np.asarray(layer.data)[100, 200] == 0


@given(data=st.data(), n=st.integers(1, 5), ny=st.integers(1, 40), nx=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_squares_that_are_painted_are_the_pixels_of_the_mask(data, n, ny, nx):
    """Only rows of changed squares are touched; the rest keeps its finer outline, also in odd numbers of columns."""
    coarse = (-(-ny // n), -(-nx // n))
    before, painted, changed = (
        data.draw(arrays(bool, shape, fill=st.just(value)))
        for shape, value in (((ny, nx), False), (coarse, True), (coarse, False))
    )
    changed[0, 0] = True
    area = ExcludedArea.__new__(ExcludedArea)
    area._squares, area._packed = n, np.packbits(before, axis=1)
    area._paint(changed, painted, (ny, nx))
    expected = before.copy()
    for y, x in np.ndindex(ny, nx):
        if changed[y // n, x // n]:
            expected[y, x] = painted[y // n, x // n]
    mask = Mask.of_packed((ny, nx), area._packed, 1.0)
    np.testing.assert_array_equal(mask.array(), expected)
    assert mask == Mask.of(expected, 1.0), "masks with the same pixels are the same"
