"""Automatic thresholds as a user meets them."""

import json

import numpy as np
import pytest

from napari_gempick.io.candidates import read_candidates
from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.io.images.mrc import write_mrc


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


def test_a_run_without_picks_says_why(data, gempick, basic):
    done = gempick("pick", "grid1", *basic, "--threshold", "0.99", "-o", "out", check=0)
    best = run_of(data / "out")["micrographs"][0]["best_score"]
    assert f"Nothing was picked: the best score is {best:.3f}, below the threshold of 0.99; lower" in done.stderr
    assert "Searched in full" not in done.stderr
    done = gempick("retune", "out", "--threshold", "0.5", "--border", "200", check=0)
    assert "Nothing was picked" not in done.stderr


@pytest.mark.parametrize(("step", "full"), [(90, True), (4, False)])
def test_a_search_that_finds_no_basis_says_so(data, gempick, basic, step, full):
    how = *basic, "--lowpass", 12, "--search", "compressed", "--angle-step", step
    done = gempick("pick", "grid1", *how, "-o", "out", check=0)
    assert ("Searched in full despite --search compressed: all micrographs." in done.stderr) == full


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
        (("--threshold", "auto", "--no-decoys"), "need decoys"),
        (("--fdr", "0"), "give more than 0"),
    ],
)
def test_wrong_settings(data, gempick, basic, options, sentence):
    done = gempick("pick", "grid1", *basic, *options, "-o", "out", check=2)
    assert sentence in done.stderr and not (data / "out").exists()


def test_retune_without_decoys(data, gempick, basic):
    gempick("pick", "grid1", *basic, "--lowpass", 8, "--no-decoys", "-o", "out", check=0)
    done = gempick("retune", "out", "--threshold", "auto")
    assert done.returncode and "decoys" in done.stderr


def test_exclusion_is_found_kept_and_edited(data, gempick, basic):
    y, x = np.mgrid[:250, :260]
    for name in ("a", "b"):
        image = read_micrograph(data / "grid1/mic.mrc", 2.0).data.astype(np.float32)
        write_mrc(data / f"{name}.mrc", np.where(x < 40, image[:, 40:41], image), 2.0)
    gempick("pick", "a.mrc", "b.mrc", *basic, "--exclude", "auto", "-o", "out", check=0)
    masks = sorted((data / "out" / "excluded").iterdir())
    assert [path.name for path in masks] == ["a.mrc.gz", "b.mrc.gz"]
    mask = read_micrograph(masks[0], 2.0).data
    assert mask[:, :38].all() and mask[:, 60:].mean() < 0.05
    assert [row["picks"] for row in run_of(data / "out")["micrographs"]] == [4, 4]
    edited = (mask.astype(bool) | (y < 130)).astype(np.float32)
    write_mrc(masks[0], edited, 2.0)
    gempick("retune", "out", "--threshold", 0.5, check=0)
    assert [row["picks"] for row in run_of(data / "out")["micrographs"]] == [2, 4]


def test_an_exclusion_mask_that_is_missing_is_noticed_first(data, gempick, basic):
    done = gempick("pick", "grid1", *basic, "--exclude", "nowhere.mrc", "-o", "out", check=2)
    assert "--exclude nowhere.mrc does not exist" in done.stderr and not (data / "out").exists()


def test_local_statistics_are_written_and_limit(data, gempick, basic):
    gempick("pick", "grid1", *basic, "--format", "csv", "-o", "out", check=0)
    header, *rows = (data / "out" / "mic.csv").read_text().splitlines()
    assert header.endswith("box_size,local_mean,local_sigma,power") and len(rows) == 4
    powers = sorted(float(row.split(",")[-1]) for row in rows)
    candidates = read_candidates(data / "out" / "candidates" / "mic.star")
    assert candidates.picks.local.shape == (len(candidates.picks), 3) and candidates.decoys.local.shape == (
        len(candidates.decoys),
        3,
    )
    gempick("retune", "out", "--power", f"{(powers[1] + powers[2]) / 2},", check=0)
    assert run_of(data / "out")["micrographs"][0]["picks"] == 2


def test_a_run_that_failed_altogether_does_not_stand_in_the_way(data, gempick, basic):
    (data / "broken.mrc").write_bytes(b"nothing")
    done = gempick("pick", "broken.mrc", *basic, "-o", "out", check=2)
    assert "Nothing was picked" in done.stdout
    gempick("pick", "grid1", *basic, "-o", "out", check=0)
    done = gempick("pick", "grid1", *basic, "-o", "out", check=2)
    assert "already holds results" in done.stderr


def test_picks_of_little_worth_are_named(data, gempick, basic):
    """At a low threshold most picks are noise, and are said to be."""
    done = gempick(
        "pick", "grid1", *basic, "--lowpass", 8, "--threshold", 0.1, "--min-distance", 30, "-o", "out", check=0
    )
    (row,) = run_of(data / "out")["micrographs"]
    assert row["picks"] > 15 and row["estimated_fdr"]["particle"] > 0.5
    assert f" % of the {row['picks']} picks are estimated to be false" in done.stderr
    again = gempick("retune", "out", "--threshold", "auto", check=0)
    assert "estimated to be false" not in again.stderr


def test_pick_with_pool_is_pick_and_retune(data, gempick, basic, contents):
    for more, folder in (((), "one"), (("--pool",), "two")):
        gempick("pick", "grid1", "grid2", *basic, "--lowpass", 8, "--threshold", "auto", *more, "-o", folder, check=0)
    gempick("retune", "one", "--threshold", "auto", "--pool", check=0)
    kinds = ("run.json", "gempick.log", "autopick.star")  # which name the folder
    assert contents(data / "one", kinds) == contents(data / "two", kinds)
    found = run_of(data / "two")
    assert len({json.dumps(row["thresholds"]) for row in found["micrographs"]}) == 1
    assert found["pooled"] == {"threshold": ["0.5", "auto"], "fdr": None}
    assert all(row["proof"] for row in found["micrographs"])
    more = ("--lowpass", 8, "--threshold", "auto", "--pool", "-o", "two", "--resume")
    gempick("pick", "grid1", "grid2", *basic, *more, check=0)
    assert contents(data / "one", kinds) == contents(data / "two", kinds)
    refused = gempick("pick", "grid1", *basic, "--pool", "-o", "three", check=2)
    assert "--threshold auto" in refused.stderr and not (data / "three").exists()
    refused = gempick("retune", "two", "--threshold", "0.6", "--pool", check=2)
    assert "--threshold auto" in refused.stderr and contents(data / "one", kinds) == contents(data / "two", kinds)
