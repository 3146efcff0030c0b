"""The frozen state: history, settings, and back from JSON."""

import json
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from napari_gempick.inputs.views import read_views
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.settings import make_settings
from napari_gempick.model.values import Named
from napari_gempick.widgets.state.reopening import state_of_run, state_of_settings
from napari_gempick.widgets.state.state import Added, Edits, History, State, Tune, ViewSpec, from_plain, to_plain

FULL = State(
    files=(MicrographFile(Path("/data/a.mrc"), PurePosixPath("grid/a.mrc")),),
    views=(ViewSpec("side", ("/t/side.mrc",), "circle:200", "#112233"), ViewSpec("top", ("/t/top.mrc", "/t/b.mrc"))),
    values={"lowpass": 20.0, "contrast": "opposite"},
    tune=Tune({"side": 0.3, "top": 0.5}, max_threshold=0.9, min_distance=120.0, max_picks=50, local_mean="-1,"),
    overrides={"grid/a": Tune({"side": 0.2}, fdr=0.05)},
    edits={"grid/a": Edits(((1.5, 2.0),), (Added(3.0, 4.0, "top", 0.5, 30.0, 1),))},
)


def test_state_survives_json():
    assert from_plain(json.loads(json.dumps(to_plain(FULL)))) == FULL


def test_settings_of_a_state_make_the_same_state():
    settings = FULL.settings()
    assert settings.threshold == ("side=0.3", "top=0.5")
    again = state_of_settings(settings)
    assert (again.tune, again.values) == (FULL.tune, FULL.values)
    assert [(v.name, v.files, v.mask) for v in again.views] == [(v.name, v.files, v.mask) for v in FULL.views]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{}", "averages.first"),
        ("{}[1,3]", "averages.first"),
        ("2@{}", "averages.first"),
        ("side={}[^1]", "side"),
        ("side=2@{}", "side"),
    ],
)
@pytest.mark.parametrize("folder", ["", "deep/er"])
def test_views_have_the_names_that_a_run_gives_them(tmp_path, monkeypatch, text, name, folder):
    monkeypatch.chdir(tmp_path)
    path = Path(folder, "averages.first.mrcs")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mrc(path, np.random.default_rng(0).standard_normal((3, 16, 16)).astype(np.float32), 2.0)
    settings = make_settings({"templates": [text.format(path)]})
    (view,) = state_of_settings(settings).views
    (read,) = read_views(settings)
    assert view.name == read.name == name
    run = {"settings": settings.model_dump(mode="json"), "views": [{"name": name}], "micrographs": []}
    assert state_of_run(run).views[0].files == view.files != ()
    assert State(views=(view,)).settings().templates == (str(Named(name, view.files[0])),)


def test_thresholds_that_a_run_chose_are_those_of_each_micrograph():
    row = {"name": "a", "path": "/data/a.mrc", "thresholds": {"side": 0.512346, "top": None}}
    failed = {"name": "b", "path": "/data/b.mrc", "error": "It is truncated."}
    settings = FULL.settings(threshold=["auto"], fdr=0.05).model_dump(mode="json")
    state = state_of_run(
        {"settings": settings, "views": [{"name": "side"}, {"name": "top"}], "micrographs": [row, failed]}
    )
    own = state.tune_of("a")
    assert 0.512344 < own.threshold("side") < 0.512346 and own.threshold("top") == 1.0
    assert (own.max_threshold, own.local_mean) == (0.9, "-1,")
    assert state.tune_of("b") == state.tune


def test_what_does_not_count_is_kept_but_not_used():
    state = State(values={"ctf": "/data/ctf.star", "contrast": "opposite", "phase_flipped": "bright"})
    assert state.settings().contrast == "same" and state.settings().phase_flipped == "bright"
    without = State(values={name: value for name, value in state.values.items() if name != "ctf"})
    assert without.settings().contrast == "opposite" and without.settings().phase_flipped == "no"


def test_history_joins_a_gesture_and_goes_both_ways():
    history = History(State())
    first = history.state
    for value in (0.1, 0.2, 0.3):
        history.do("move", State().with_tune(None, thresholds={"a": value}), gesture="drag")
    history.end_gesture()
    last = history.state
    history.do("move", last.with_tune(None, max_picks=3), gesture="drag")
    assert history.undo() == "move" and history.state == last
    assert history.undo() == "move" and history.state == first
    assert history.undo() == "" and history.undoable == ""
    history.redo()
    assert history.state == last
    assert history.redoable == "move"
    history.do("other", first)
    assert history.redoable == ""


def test_no_change_is_no_step():
    history = History(State())
    assert not history.do("nothing", State())
    assert history.undoable == ""
