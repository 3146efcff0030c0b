"""gempick pick with the CTF and with preparation filters."""

import json

import mrcfile
import numpy as np
import pytest
import scipy.fft

from helpers import Blobs
from napari_gempick.engine.preprocess.fourier_filters import CtfTransfer, Whitening
from napari_gempick.engine.preprocess.prepare import prepare
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.geometry import Grid

PLANTED = {(70, 72): 0.0, (180, 75): 60.0, (75, 180): 135.0, (182, 178): 210.0}
LENSES = {"mic_a": Ctf(21100, 17000, 40), "mic_b": Ctf(9000, 9000, voltage=200, cs=1.4), "mic_c": Ctf(20900, 17100, 41)}


STAR = """
data_optics
loop_
_rlnOpticsGroup
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
1 300 2.7 0.1
2 200 1.4 0.1

data_micrographs
loop_
_rlnMicrographName
_rlnOpticsGroup
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
"""
TEXT = """# Output from CTFFind version 4.1.14, run on 2020-01-01 00:00:00
# Input file: {name}.mrc ; Number of micrographs: 1
# Pixel size: 2.000 Angstroms ; acceleration voltage: {kv:.1f} keV ; spherical aberration: {cs:.2f} mm ; amplitude contrast: 0.10
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2
1.000000 {u:.6f} {v:.6f} {angle:.6f} 0.000000 0.130000 4.900000
"""  # noqa: E501


@pytest.fixture
def seen_through_lenses(tmp_path, monkeypatch):
    """Three micrographs of protein-bright particles seen through their CTF, in noise; a STAR file; CTFFIND's texts."""
    rng = np.random.default_rng(0)
    clean = Blobs.image((250, 250), 2.0, list(PLANTED), list(PLANTED.values()))
    rows = []
    (tmp_path / "texts").mkdir()
    for name, ctf in LENSES.items():
        image = scipy.fft.irfft2(scipy.fft.rfft2(clean) * CtfTransfer(ctf)(clean.shape, 2.0), s=clean.shape)
        write_mrc(tmp_path / f"mics/{name}.mrc", (image + 0.05 * rng.standard_normal(image.shape)).astype("f4"), 2.0)
        u, v, angle = ctf.defocus_u, ctf.defocus_v, ctf.angle
        rows.append(f"{name}.mrc {1 if ctf.voltage == 300 else 2} {u} {v} {angle}")
        text = TEXT.format(name=name, kv=ctf.voltage, cs=ctf.cs, u=u, v=v, angle=angle)
        (tmp_path / f"texts/{name}_diag.txt").write_text(text)
    (tmp_path / "ctf.star").write_text(STAR + "\n".join(rows) + "\n")
    write_mrc(tmp_path / "particle.mrc", Blobs.image((88, 88), 2.0, [(44, 44)]), 2.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


TEMPLATES = ("--templates", "particle.mrc", "--mask", "circle:140", "--angle-step", "15")


def test_templates_under_the_ctf_find_what_plain_ones_miss(seen_through_lenses, gempick, contents):
    star = ("--ctf", "ctf.star")
    done = gempick("pick", "mics", *TEMPLATES, *star, "--threshold", 0.4, "-o", "out", "--json", check=0)
    run = json.loads(done.stdout)
    assert [row["picks"] for row in run["micrographs"]] == [4, 4, 4]
    assert [row["name"] for row in run["micrographs"]] == list(LENSES)
    for name in LENSES:
        picks = read_coordinates(seen_through_lenses / f"out/{name}_autopick.star").picks
        for (x, y), psi in PLANTED.items():
            nearest = np.hypot(picks.x - x, picks.y - y).argmin()
            assert np.hypot(picks.x[nearest] - x, picks.y[nearest] - y) < 0.7
            assert abs((picks.psi[nearest] - psi + 180) % 360 - 180) <= 7.5
    plain = gempick("pick", "mics", *TEMPLATES, "--contrast", "opposite", "-o", "plain", "--json", check=0)
    for with_ctf, without in zip(run["micrographs"], json.loads(plain.stdout)["micrographs"], strict=True):
        assert with_ctf["best_score"] > without["best_score"] + 0.05
    again = gempick("pick", "mics", "--config", "out/run.json", "-o", "again", "--json", check=0)
    assert [row["picks"] for row in json.loads(again.stdout)["micrographs"]] == [4, 4, 4]
    gempick("pick", "mics", *TEMPLATES, "--ctf", "texts", "--threshold", 0.4, "-o", "texts_out", check=0)
    both = (
        contents(seen_through_lenses / name, ("run.json", "gempick.log", "autopick.star"))
        for name in ("out", "texts_out")
    )
    assert next(both) == next(both)
    # the proof sees the particles through the same lenses
    proof = json.loads(gempick("convert", "out", "p.star", "--to", "particles", "--json", check=0).stdout)["proof"]
    assert (proof["state"], proof["picks"]) == ("verified", 12) and proof["written"] > 0.85


@pytest.mark.parametrize("whiten", [(), ("--whiten",)])
def test_rotated_templates_are_those_that_a_micrograph_is_searched_with(seen_through_lenses, gempick, whiten):
    """The written template and mask give the score of a pick by the definition."""
    options = (*TEMPLATES, "--ctf", "ctf.star", *whiten)
    gempick("pick", "mics/mic_a.mrc", *options, "--threshold", 0.3, "-o", "out", check=0)
    rotate = ("templates", "rotate", *options, "-o", "rot")
    assert "name it with --micrograph" in gempick(*rotate, check=2).stderr
    made = json.loads(gempick(*rotate, "--micrograph", "mics/mic_a.mrc", "--json", check=0).stdout)
    picks = read_coordinates(seen_through_lenses / "out/mic_a_autopick.star").picks
    templates, masks = (mrcfile.read(f"rot/particle_{kind}.mrcs").astype(float) for kind in ("templates", "masks"))
    image = mrcfile.read("mics/mic_a.mrc").astype(np.float32)
    filtered = Whitening.of(image, 2.0) if whiten else None
    image = prepare(image, Grid(image.shape, 2.0), transfer=filtered).image.astype(float)
    row = int(picks.psi[0] / 15)
    (top, left), (height, width) = made["centre"], made["box"]
    weights, found = masks[row] / masks[row].sum(), []
    for y, x in np.ndindex(3, 3):
        first = round(picks.y[0]) - 1 + y - top, round(picks.x[0]) - 1 + x - left
        block = image[first[0] : first[0] + height, first[1] : first[1] + width]
        deviation = np.sqrt((weights * block**2).sum() - (weights * block).sum() ** 2)
        found.append((templates[row] * block).sum() / deviation)
    assert max(found) == pytest.approx(picks.score[0], abs=1e-4)


def test_check_under_the_ctf(seen_through_lenses, gempick):
    """The reference is the template as the lens shows it: the average of the picks is like it, with its sign."""
    more = ("--threshold", 0.4, "--particles", 4, "-o", "check", "--json")
    done = gempick("templates", "check", "mics/mic_a.mrc", *TEMPLATES, "--ctf", "ctf.star", *more, check=0)
    (view,) = json.loads(done.stdout)["views"]
    assert view["picks"] == 4 and view["picks_in_noise"] == 0
    assert view["likeness"] > 0.95 and 0.1 < view["likeness_of_noise"] < 0.9
    mean_template, average, _ = mrcfile.read("check/particle_check.mrcs")
    assert np.corrcoef(mean_template.ravel(), average.ravel())[0, 1] > 0.8


def test_contrast_with_the_ctf_is_refused(seen_through_lenses, gempick):
    one, options = "mics/mic_a.mrc", (*TEMPLATES, "--ctf", "ctf.star")
    commands = (
        ("pick", one, *options, "-o", "out"),
        ("preview", one, *options),
        ("job", "export", one, *options, "-o", "out"),
        ("templates", "rotate", *options, "--micrograph", one, "-o", "out"),
        ("templates", "check", one, *options, "-o", "out"),
    )
    for command in commands:
        for contrast in ("same", "opposite"):
            done = gempick(*command, "--contrast", contrast, check=2)
            assert "the CTF gives the sign of the templates; omit --contrast, or --ctf." in done.stderr
    assert not (seen_through_lenses / "out").exists()
    assert (
        "--phase-flipped needs"
        in gempick("pick", "mics", *TEMPLATES, "--phase-flipped", "dark", "-o", "out", check=2).stderr
    )


def test_a_micrograph_without_defocus_fails_alone(seen_through_lenses, gempick):
    (seen_through_lenses / "mics/mic_b.mrc").rename(seen_through_lenses / "mics/mic_d.mrc")
    done = gempick("pick", "mics", *TEMPLATES, "--ctf", "ctf.star", "-o", "out", check=1)
    assert "no row for mic_d.mrc" in done.stderr
    assert (seen_through_lenses / "out/mic_a_autopick.star").exists()


def test_filters_are_recorded_and_find_the_particles(data, gempick, planted):
    options = ("--averaging", 4, "--whiten", "--gradient", "plane", "--hot-pixels", 8, "--threshold", 0.5)
    done = gempick(
        "pick", "grid1", "--templates", "particle=particle.mrc", "--mask", "circle:130", "--angle-step", "15",
        *options, "-o", "out", "--json", check=0,
    )  # fmt: skip
    run = json.loads(done.stdout)
    assert run["settings"]["averaging"] == 4 and run["settings"]["whiten"] is True
    picks = read_coordinates(data / "out/mic_autopick.star").picks
    assert len(picks) == 4
    for x, y in planted:
        assert np.hypot(picks.x - x, picks.y - y).min() < 1.5
