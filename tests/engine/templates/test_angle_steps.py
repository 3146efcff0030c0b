"""The step of the in-plane angle: Crowther's rule, and what steps cost a template whose turns are known."""

import math

import numpy as np
import pytest

from napari_gempick.engine.templates.angle_steps import StepLoss, even, half_crowther
from napari_gempick.engine.templates.bank import Section
from napari_gempick.engine.templates.masks import ShapeMask
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import view_of
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.settings import PickSettings, make_settings


@pytest.mark.parametrize(
    ("detail", "diameter", "expected"),
    [(20, 150, 7.66), (10, 300, 1.91), (5, 1000, 1.0), (40, 140, 15.0), (100, 50, 15.0)],
)
def test_half_of_crowthers_angle(detail, diameter, expected):
    assert half_crowther(detail, diameter) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("step", "expected"), [(4.0, 4.0), (7.66, 360 / 47), (15.0, 15.0), (1.0, 1.0)])
def test_steps_go_into_the_circle(step, expected):
    assert even(step) == pytest.approx(expected, rel=1e-12)


def wheel(spokes):
    y, x = np.indices((161, 161)) - 80
    return (np.hypot(x, y) / 60 * np.cos(spokes * np.arctan2(y, x))).astype(np.float32)


@pytest.mark.parametrize("spokes", [3, 8, 12])
@pytest.mark.parametrize("step", [2.0, 6.0])
def test_the_loss_of_a_wheel(spokes, step):
    """Turned by d, a wheel of n spokes correlates with itself by cos(n d)."""
    loss = StepLoss([Section(wheel(spokes), 2.0, ShapeMask("circle", (240, 240)), "wheel")], None, None)
    offsets = np.radians((np.arange(1000) + 0.5) / 1000 * step / 2)
    assert loss(step) == pytest.approx(1 - np.cos(spokes * offsets).mean(), abs=0.004)


def makers_of(template=None, **values):
    settings = PickSettings(mask=("circle:240",), **values)
    template = wheel(8) if template is None else template
    return BankMaker(settings, [view_of("wheel", [(template, "wheel", 2.0)], "circle:240", settings)])


def test_the_automatic_step():
    assert makers_of(lowpass=30.0).index.angle_step == even(math.degrees(math.asin(30 / 240)))
    assert makers_of(lowpass=30.0, diameter=200).index.angle_step == even(math.degrees(math.asin(30 / 200)))
    assert makers_of(angle_step=4.0, lowpass=30).index.angle_step == 4
    assert makers_of(angle_step=0.0).index.n_rotations == 1
    fine, coarse = makers_of(wheel(20)).index.angle_step, makers_of(wheel(3)).index.angle_step
    assert fine < coarse <= 15
    for spokes, step in ((20, fine), (8, makers_of().index.angle_step)):
        offsets = np.radians((np.arange(1000) + 0.5) / 1000 * step / 2)
        assert 0.02 < 1 - np.cos(spokes * offsets).mean() < 0.034, "without a low-pass a step costs about 3 %"


def test_what_a_step_costs_is_told_above_5_percent():
    assert makers_of().step_notes() == [] and makers_of(angle_step=0).step_notes() == []
    assert makers_of(angle_step=6.0).step_notes() == []
    (note,) = makers_of(angle_step=12.0).step_notes()
    assert "12 degrees costs 11 % of the score" in note and "--angle-step auto takes" in note


@pytest.mark.parametrize(("given", "kept"), [("auto", None), ("AUTO ", None), (None, None), ("4", 4.0), (2, 2.0)])
def test_words_and_numbers(given, kept):
    assert make_settings({"angle_step": given}).angle_step == kept


@pytest.mark.parametrize("wrong", ["fine", -1, 0.001, "nan"])
def test_wrong_steps_are_one_sentence(wrong):
    with pytest.raises(SettingsError, match="angle-step"):
        make_settings({"angle_step": wrong})
