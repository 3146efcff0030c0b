"""gempick bench: figures that fit together (times are measured, never asserted)."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_gempick.io.images.mrc import write_mrc

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


def test_a_bank_is_searched_in_both_ways(gempick, tmp_path):
    """A lopsided map: the same candidates, by fewer transforms than templates; a rank is a fact, times are not."""
    rng = np.random.default_rng(0)
    volume = gaussian_filter(rng.random((24, 24, 24)) * (np.hypot.reduce(np.indices((24, 24, 24)) - 12) < 9), 1.5)
    write_mrc(tmp_path / "map.mrc", volume.astype(np.float32), 4.0)
    options = ("--bank", tmp_path / "map.mrc", "--symmetry", "D2", "--angle-step", 12, "--micrograph-size", 200)
    found = json.loads(gempick("bench", *options, "--json", check=0).stdout)
    assert found["rank"] < found["search_images"] / 2
    assert found["candidates"] > 4
    assert found["candidates_of_one_only"] == 0
    assert found["largest_score_difference"] < 1e-5
    assert 0 < found["map_bound"] < 0.1
    assert found["times_as_fast"] == pytest.approx(found["seconds"]["full"] / found["seconds"]["compressed"])
    assert sum(found["stages"].values()) == pytest.approx(1)


def test_a_bank_without_shared_masks_says_so(gempick, tmp_path):
    volume = gaussian_filter(np.random.default_rng(0).random((24, 24, 24)), 1)
    write_mrc(tmp_path / "map.mrc", volume.astype(np.float32), 4.0)
    options = ("--bank", tmp_path / "map.mrc", "--angle-step", 60, "--views", 1, "--micrograph-size", 100)
    done = gempick("bench", *options, "--lowpass", "20A", check=2)
    assert "No mask is shared by 12 rotated templates" in done.stderr


def test_scaling(gempick):
    text = gempick("bench", *SMALL, "--scaling", check=0).stdout
    assert "1 thread " in text and "1.00 times one thread" in text


@pytest.mark.parametrize("devices", ["cpu", "none"])
def test_a_whole_run_is_measured_stage_by_stage(gempick, devices):
    options = ("--micrographs", "4", "--micrograph-size", "320", "--threads", "2", "--devices", devices)
    found = json.loads(gempick("bench", "--pipeline", *options, "--json").stdout)
    assert found["search_images"] == 288
    assert set(found["stages"]) == {"read", "prepare", "write"} and min(found["stages"].values()) > 0
    assert found["micrographs_per_second"] * found["seconds_per_micrograph"] == pytest.approx(1)
    assert found["candidates"] > 4 and "last_step_seconds" in found
    if devices == "none":
        assert "limits" in found["limited_by"]
    else:
        assert found["limited_by"].startswith("devices busy")


def test_devices_says_what_limited_a_run(gempick, tmp_path):
    path = tmp_path / "run.json"
    run = {"settings": {}, "diameter": 100, "views": [], "micrographs": [], "devices": [{"name": "cpu", "model": "A"}]}
    path.write_text(json.dumps({**run, "stages": {"limited_by": "devices busy 40 %; reading limits: 90 MB/s"}}))
    assert "cpu (A); devices busy 40 %; reading limits: 90 MB/s" in gempick("devices", str(tmp_path)).stdout
    assert json.loads(gempick("devices", str(tmp_path), "--json").stdout)["run"]["devices"] == run["devices"]
    assert "is missing" in gempick("devices", str(tmp_path / "no"), check=2).stderr
