"""gempick bench: figures that fit together (times are measured, never asserted)."""

import json

import pytest

SMALL = ("--micrograph-size", 200, "--template-size", 24, "--templates", 5)


@pytest.mark.parametrize("masks", ["shared", "own"])
def test_figures(gempick, masks):
    figures = json.loads(gempick("bench", *SMALL, "--masks", masks, "--threads", 2, "--json", check=0).stdout)
    assert figures["workload"]["masks"] == masks and figures["workload"]["templates"] >= 5
    assert figures["templates_per_second"] == pytest.approx(1e3 / figures["ms_per_template"])
    expected = figures["ms_per_template"] * 2 / figures["plain_fft_ms"]
    assert figures["ratio_to_plain_fft"] == pytest.approx(expected)
    assert figures["peak_memory_mib"] > 50 and figures["bytes_per_template"] > 4 * 200 * 200


def test_extrapolation_says_so(gempick):
    text = gempick("bench", *SMALL, "--extrapolate", 1000, check=0).stdout
    assert "1000 templates" in text and "extrapolated, not measured" in text


def test_scaling(gempick):
    text = gempick("bench", *SMALL, "--scaling", check=0).stdout
    assert "1 threads" in text and "1.00 times one thread" in text
