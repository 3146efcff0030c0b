"""Automatic thresholds as a user meets them."""

import json

import numpy as np
import pytest

from napari_gempick.io.stack import write_mrc


def run_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_auto_finds_the_planted_particles(data, gempick, basic):
    gempick(
        "pick", "grid1", "grid2", *basic, "--lowpass", 8, "--threshold", "auto", "--save-maps", "-o", "out", check=0
    )
    run = run_of(data / "out")
    for row in run["micrographs"]:
        assert row["picks"] == 4 and row["remarks"] == []
        (threshold,), (rate,) = row["thresholds"].values(), row["estimated_fdr"].values()
        assert 0.2 < threshold < 0.95 and 0 <= rate < 0.3
    assert len(list((data / "out" / "maps").rglob("*_minindex.mrc"))) == 3
    gempick("retune", "out", "--threshold", "auto", "--pool", check=0)
    pooled = run_of(data / "out")
    assert [row["picks"] for row in pooled["micrographs"]] == [4, 4, 4]
    assert len({row["thresholds"]["particle"] for row in pooled["micrographs"]}) == 1
    assert pooled["settings"]["threshold"] == [f"particle={pooled['micrographs'][0]['thresholds']['particle']:.6g}"]
    gempick("retune", "out", "--fdr", 0.05, check=0)
    assert all(row["estimated_fdr"]["particle"] <= 0.05 for row in run_of(data / "out")["micrographs"])
    gempick("retune", "out", "--threshold", 0.3, check=0)
    assert run_of(data / "out")["settings"]["fdr"] is None


def test_noise_gives_no_picks_and_says_so(data, gempick, basic):
    rng = np.random.default_rng(5)
    write_mrc(data / "noise.mrc", rng.standard_normal((250, 260)).astype(np.float32), 2.0)
    done = gempick("pick", "noise.mrc", *basic, "--lowpass", 8, "--threshold", "auto", "-o", "out", check=0)
    assert "noise.mrc: No score is above what chance gives" in done.stderr
    (row,) = run_of(data / "out")["micrographs"]
    assert row["picks"] == 0 and row["thresholds"] == {"particle": None}


def test_the_wrong_contrast_is_noticed(data, gempick, basic):
    done = gempick(
        "pick", "grid1", *basic, "--lowpass", 8, "--threshold", "auto", "--contrast", "opposite", "-o", "out", check=0
    )
    assert "check --contrast same" in done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--threshold", "automatic"), "write 0.4, NAME=0.4 or auto"),
        (("--threshold", "0.3", "--fdr", "0.1"), "fdr chooses the threshold itself"),
        (("--threshold", "auto", "--no-decoys"), "need the decoys"),
        (("--fdr", "0"), "greater than 0"),
    ],
)
def test_wrong_settings(data, gempick, basic, options, sentence):
    done = gempick("pick", "grid1", *basic, *options, "-o", "out", check=2)
    assert sentence in done.stderr and not (data / "out").exists()


def test_retune_without_decoys(data, gempick, basic):
    gempick("pick", "grid1", *basic, "--lowpass", 8, "--no-decoys", "-o", "out", check=0)
    done = gempick("retune", "out", "--threshold", "auto")
    assert done.returncode and "decoys" in done.stderr
