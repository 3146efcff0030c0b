"""Numbers in words, and lengths with their units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_gempick.model.errors import SettingsError
from napari_gempick.model.values import Length, figures


@pytest.mark.parametrize(
    ("value", "count", "words"),
    [
        (0, 3, "0"),
        (0.0512, 2, "0.051"),
        (2.0, 3, "2"),
        (9.996, 3, "10"),
        (640, 2, "640"),
        (-1114, 3, "-1,110"),
        (8580.2, 3, "8,580"),
    ],
)
def test_figures(value, count, words):
    assert figures(value, count) == words


@given(
    st.floats(-1e6, 1e6),
    st.sampled_from(["", "px", "A", "Å", "\u212b", " px", "PX", " a"]),
    st.sampled_from(["px", "Å"]),
    st.floats(0.1, 10),
)
def test_lengths_are_used_in_their_own_unit(value, unit, wanted, pixel_size):
    length = Length.read(f"{value!r}{unit}", wanted)
    given_in = {"": wanted, "px": "px"}.get(unit.strip().lower(), "Å")
    factor = 1 if given_in == wanted else pixel_size if wanted == "Å" else 1 / pixel_size
    assert length.used(pixel_size) == pytest.approx(value * factor)
    if given_in == wanted:
        assert length.used(None) == value
    else:
        with pytest.raises(SettingsError, match=f"needs the pixel size; give --pixel-size, or the length in {wanted}"):
            length.used(None)


@pytest.mark.parametrize("text", ["", "px", "4 5", "45pt", "nan", "inf A", "1e400px", "4,5", "A45"])
def test_what_is_not_a_length(text):
    with pytest.raises(ValueError, match="write a number in px, or one with its unit, such as 45px or 80A"):
        Length.read(text, "px")
