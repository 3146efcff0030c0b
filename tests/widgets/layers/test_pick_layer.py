"""Points that are replaced at once end as those of a layer that is made with them."""

import numpy as np
import pytest
from napari.layers import Points

from napari_gempick.widgets.layers.pick_layer import swap_points

KEPT = {"size": 40.0, "symbol": "cross", "face_color": "transparent", "border_width": 0.06}


def points(n, seed=0):
    random = np.random.default_rng(seed)
    features = {"score": random.uniform(0, 1, n), "view": np.array(["side", "top"] * n, object)[:n]}
    return random.uniform(0, 500, (n, 2)), features, random.uniform(0, 1, (n, 4)).astype(np.float32)


@pytest.mark.parametrize("visible", [True, False])
@pytest.mark.parametrize("numbers", [(5, 9), (9, 5), (4, 4), (1, 300), (0, 3), (300, 1, 20, 7)])
def test_a_layer_of_swapped_points_is_that_of_new_points(numbers, visible):
    data, features, colours = points(numbers[0])
    layer = Points(data, features=features, border_color=colours if len(colours) else "white", visible=visible, **KEPT)
    layer.selected_data = set()
    told = []
    layer.events.set_data.connect(lambda event: told.append("drawn"))
    for seed, number in enumerate(numbers[1:], 1):
        data, features, colours = points(number, seed)
        swap_points(layer, data, features, colours)
    expected = Points(data, features=features, border_color=colours, visible=visible, **KEPT)
    for name in ("data", "size", "symbol", "shown", "border_width", "border_color", "face_color"):
        np.testing.assert_array_equal(getattr(layer, name), getattr(expected, name), err_msg=name)
    assert layer.features.equals(expected.features)
    assert len(layer._view_data) == len(data), "what is drawn"
    assert told.count("drawn") == len(numbers) - 1 or numbers[0] == 0
    layer.add([[1.0, 2.0]])
    assert len(layer.size) == len(layer.border_color) == len(layer.features) == len(data) + 1, "napari's tools go on"


def test_a_version_of_napari_without_these_parts_is_served_by_its_setters():
    class Other(Points):
        """A layer that keeps sizes elsewhere."""

        def __getattribute__(self, name):
            if name == "_symbol" and "hidden" in object.__getattribute__(self, "metadata"):
                raise AttributeError(name)
            return super().__getattribute__(name)

    data, features, colours = points(5)
    layer = Other(data, features=features, border_color=colours, **KEPT)
    calls = []
    layer.events.border_color.connect(lambda event: calls.append(event))
    data, features, colours = points(5, 1)
    layer.metadata["hidden"] = True
    swap_points(layer, data, features, colours)
    np.testing.assert_array_equal(layer.data, data)
    np.testing.assert_array_almost_equal(layer.border_color, colours)
    assert calls, "set by its setter"
