"""The examples of the Python interface: each function has one, and each gives what it says, on the sample data."""

import doctest
import inspect
import json
import shutil
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import napari_gempick as gp

SAMPLE = Path(__file__).parents[1] / "sample_data"
FUNCTIONS = [name for name in gp.__all__ if inspect.isfunction(getattr(gp, name))]


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("name", [*FUNCTIONS, "Picks"])
def test_the_examples_of(name, tmp_path, monkeypatch, plan_cache):
    shutil.copytree(SAMPLE, tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    globs = {"gp": gp, "np": np, "wait_for": wait_for}
    found = doctest.DocTestFinder(recurse=True).find(getattr(gp, name), name, globs=globs)
    assert any(test.examples for test in found) or "See `" in inspect.getdoc(getattr(gp, name)), "no example"
    for test in found:
        said: list[str] = []
        result = doctest.DocTestRunner().run(test, out=said.append)
        assert result.failed == 0, "".join(said)


def test_help_lists_every_setting():
    text = inspect.getdoc(gp.PickSettings)
    for name, field in gp.PickSettings.model_fields.items():
        assert name in text and field.description in text


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        ({"threshold": 0.5}, ("0.5",)),
        ({"threshold": np.float32(0.25)}, ("0.25",)),
        ({"threshold": "auto"}, ("auto",)),
        ({"threshold": {"side": 0.5, "top": "auto"}}, ("side=0.5", "top=auto")),
        ({"threshold": [0.4, "top=0.6"]}, ("0.4", "top=0.6")),
    ],
)
def test_settings_are_given_as_values(values, threshold):
    assert gp.PickSettings(**values).threshold == threshold


def test_masks_and_templates_are_given_by_view():
    settings = gp.PickSettings(templates={"a": Path("x/a.mrc")}, mask={"a": "circle:100"}, in_plane_symmetry={"a": 5})
    assert settings.templates == (f"a={Path('x/a.mrc')}",)
    assert settings.masks.of(["a"]) == ("circle:100",) and settings.folds.of(["a"]) == (5,)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"pixel_size": "wide"}, "--pixel-size: 'wide' is not a number"),
        ({"pixel_size": 0}, "--pixel-size: 0 is too small; give more than 0"),
        ({"threads": 1.5}, "--threads: 1.5 is not a whole number"),
        ({"search": "fast"}, "--search: 'fast' is not a choice; give 'auto', 'full' or 'compressed'"),
        ({"decoys": "maybe"}, "--decoys: 'maybe' is neither true nor false"),
        ({"lowpas": 20}, "--lowpas: this setting does not exist"),
        ({"threshold": 2}, "--threshold: '2' must lie between -1 and 1"),
        ({"templates": {"a": ["b"]}, "threads": -1}, "--threads: -1 is too small; give at least 0"),
    ],
)
def test_a_wrong_setting_is_one_sentence(values, sentence):
    with pytest.raises(gp.GempickError) as caught:
        gp.PickSettings(**values)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_format_that_the_name_does_not_tell_is_asked_for(tmp_path):
    with pytest.raises(gp.GempickError, match=r"does not say in which format.*gempicker"):
        gp.write_picks(tmp_path / "picks.txt", gp.Picks.empty())
    path = gp.write_picks(tmp_path / "picks.csv", gp.Picks.empty(), pixel_size=1.0)
    with pytest.raises(gp.GempickError, match="already exists"):
        gp.write_picks(path, gp.Picks.empty(), pixel_size=1.0)


def test_the_notebook(tmp_path, monkeypatch, plan_cache):
    """Its cells in order, as a person runs them."""
    shutil.copytree(SAMPLE, tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    shown = []
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: shown.append(len(plt.gcf().axes)))
    notebook = json.loads((SAMPLE.parent / "docs" / "notebooks" / "first_picks.ipynb").read_text(encoding="utf-8"))
    known = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), known)
            plt.close("all")
    assert shown == [2, 1]
    truth = gp.read_coordinates("sample_data/micrograph_001_truth.csv").picks
    away = np.hypot(known["picks"].x[:, None] - truth.x, known["picks"].y[:, None] - truth.y).min(axis=1)
    assert len(away) > 25 and np.mean(away < 20) > 0.9
    assert len(gp.read_coordinates("micrograph_001_autopick.star").picks) == len(away)
