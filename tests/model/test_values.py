"""Numbers in words."""

import pytest

from napari_gempick.model.values import figures


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
