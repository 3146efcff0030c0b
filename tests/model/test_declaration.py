"""What a parameter declares about itself, and the lists of settings that follow from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gempick.cluster.settings import ClusterSettings
from napari_gempick.extraction.settings import ExtractSettings
from napari_gempick.model.declaration import declarations, groups, names_with
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.settings import (
    RETUNABLE,
    TEMPLATE_SETTINGS,
    TUNED,
    PickSettings,
    make_settings,
)
from napari_gempick.model.values import Named, PerView, named_texts
from napari_gempick.results.folder import NOT_REPRODUCING
from napari_gempick.simulation.settings import SimulateSettings

WORKED = {"devices", "threads", "check_coordinates"}
FILES = {"save_maps", "per_view_maps"}
TUNING = {"max_threshold", "min_distance", "border", "max_picks", "local_mean", "local_sigma", "power"}
CHOOSING = {"threshold", "fdr", "score", "exclude", "exclude_edited"}
OTHERS = {"decoys", "search", "candidate_floor", "format"}


def test_each_setting_plays_one_role():
    assert set(NOT_REPRODUCING) == WORKED | FILES | {"format"}
    assert set(TUNED) == TUNING
    assert {*names_with(PickSettings, group=("Tune", "Limits"))} == {*TUNING, "fdr"}  # the window keeps them apart
    assert set(RETUNABLE) == TUNING | CHOOSING | {"format"}
    assert set(TEMPLATE_SETTINGS) == set(PickSettings.model_fields) - WORKED - FILES - TUNING - CHOOSING - OTHERS
    assert set(names_with(PickSettings, role=("template", "search"))) == {*TEMPLATE_SETTINGS, "decoys", "search"}
    assert names_with(PickSettings, kind="path") == ("ctf", "exclude", "exclude_edited")
    assert names_with(PickSettings, kind="per view") == ("templates", "mask", "in_plane_symmetry", "threshold")


@pytest.mark.parametrize("model", [PickSettings, ClusterSettings, ExtractSettings, SimulateSettings])
def test_declarations_are_whole(model):
    for name, one in declarations(model).items():
        assert one.name == name and one.label and one.help and one.low < one.high and one.step > 0
        assert not one.optional or one.empty
    assert {name for names in groups(model).values() for name in names} <= set(model.model_fields)


@pytest.mark.parametrize(
    ("name", "low", "high", "open_", "empty", "suffix"),
    [
        ("lowpass", 0, 99_999, True, "off", " Å"),
        ("angle_step", 0, 360, False, "auto", "°"),
        ("max_threshold", -1, 1, False, "off", ""),
        ("threads", 0, 1024, False, "all", ""),
        ("min_distance", 0, 99_999, False, "auto", " Å"),
    ],
)
def test_limits_and_words(name, low, high, open_, empty, suffix):
    one = declarations(PickSettings)[name]
    assert (one.low, one.high, one.open, one.empty, one.suffix) == (low, high, open_, empty, suffix)


names = st.text("abcxyz_-. ", min_size=1, max_size=8)
values = st.text("abc019./:x=", max_size=12)


@given(st.none() | names, values)
def test_named_texts_are_read_as_they_are_written(name, value):
    text = str(Named(name, value))
    again = Named.read(text)
    assert str(again) == text
    if name is not None:
        assert again == (name, value)


@given(st.dictionaries(names, st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=4))
def test_thresholds_of_views_come_back(given_):
    texts = named_texts(given_, "g")
    assert make_settings({"threshold": texts}).thresholds.of(given_) == tuple(given_.values())


def test_later_values_hold_and_others_have_the_one_of_all():
    values = PerView(["3", "top=5", "top=4"], int, 1, "--number")
    assert values.of(("side", "top")) == (3, 4) and values.all == (3, 4, 4)
    with pytest.raises(SettingsError, match="--number top=5: there is no view 'top'; the views are side"):
        values.of(("side",))


@pytest.mark.parametrize("text", ["high", "side=high", "2", "side=-1.5"])
def test_wrong_thresholds_are_named(text):
    with pytest.raises(SettingsError, match=f"--threshold: '{text}' "):
        make_settings({"threshold": [text]})
