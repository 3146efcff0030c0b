"""TIFF micrographs: every file has the row order of the program that reads it, and what we read comes back.

How RELION and EMAN2 read a TIFF is written down here once more and independently: the rows of the file, flipped.
"""

import csv
import json
from pathlib import PurePosixPath

import mrcfile
import numpy as np
import pytest
import starfile
import tifffile
from scipy import ndimage

from helpers import Blobs
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS
from napari_gempick.io.formats.coordinate_set import ReadOptions
from napari_gempick.io.images.row_order import TIFF_ROWS, is_tiff
from napari_gempick.io.listing import MicrographFile
from napari_gempick.workflows.export import Chosen, export_picks

NX, NY = 260, 250


@pytest.fixture
def tiff(data, planted):
    """The same micrographs as TIFF files (0.1 nm resolution tags of 2 Å) and as MRC in another folder."""
    for mrc in data.glob("grid*/*.mrc"):
        place = data / "tif" / mrc.relative_to(data).with_suffix(".tif")
        place.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(place, mrcfile.read(mrc), resolution=(5e7, 5e7), resolutionunit="CENTIMETER")
    return data


def as_relion_reads(path):
    """Return the image with row 0 as RELION has it."""
    return tifffile.imread(path)[::-1]


def template():
    return -Blobs.image((88, 88), 2.0, [(44, 44)])


def correlation(image, x, y, psi, *, mirrored=False):
    """Return how well the turned template, or its mirror image in a flipped micrograph, fits an image at a place."""
    x, y = round(x), round(y)
    particle = template()[::-1] if mirrored else template()
    turned = ndimage.rotate(particle, psi, reshape=False)[12:76, 12:76]  # counter-clockwise on screen
    return np.corrcoef(image[y - 32 : y + 32, x - 32 : x + 32].ravel(), turned.ravel())[0, 1]


def test_relion_finds_the_particles_where_the_star_file_says(tiff, gempick, basic):
    run = json.loads(gempick("pick", "tif", *basic, "--format", "star,csv", "-o", "out", "--json", check=0).stdout)
    assert {row["y_from_last_row"][0] for row in run["micrographs"]} == {"star"}
    for row in run["micrographs"]:
        assert row["proof"]["star"].startswith("verified") or "too few" in row["proof"]["star"]
        picks = starfile.read(f"out/{row['name']}_autopick.star")
        image = as_relion_reads(row["path"])
        assert len(picks) == 4
        for pick in picks.itertuples():
            here = pick.rlnCoordinateX, pick.rlnCoordinateY, pick.rlnAnglePsi
            assert correlation(image, *here, mirrored=True) > 0.6
            assert correlation(image[::-1], *here) < 0.5
        with open(f"out/{row['name']}.csv") as stream:
            for pick, line in zip(picks.itertuples(), csv.DictReader(stream), strict=True):
                assert float(line["y"]) == pytest.approx(NY - 1 - pick.rlnCoordinateY, abs=1e-3)
                assert float(line["psi"]) == pytest.approx(-pick.rlnAnglePsi % 360, abs=1e-3)
                assert correlation(image[::-1], float(line["x"]), float(line["y"]), float(line["psi"])) > 0.6


def test_which_formats_turn_over_and_that_mrc_stays(tiff, gempick, basic):
    formats = ",".join(name for name in FORMATS if name != "gempicker-box")
    gempick("pick", "grid1/mic.mrc", *basic, "--format", formats, "-o", "mrc", check=0)
    done = gempick("pick", "tif/grid1/mic.tif", *basic, "--format", formats, "-o", "out", check=0)
    assert "y counts from the last row in the star, particles, box, eman2, cbox files" in done.stderr
    plain = read_coordinates("mrc/mic_autopick.star").picks
    order = np.argsort(plain.x)
    for name, made in FORMATS.items():
        if name == "gempicker-box":
            continue
        found = made.read("out/" + made.file_of("mic", "tif/grid1/mic.tif"), ReadOptions((NY, NX))).picks
        at_mrc = made.read("mrc/" + made.file_of("mic", "grid1/mic.mrc"), ReadOptions((NY, NX))).picks
        turned_over = TIFF_ROWS[name].from_bottom and name != "star"  # our own STAR file says what it has
        y = np.sort(NY - 1 - at_mrc.y if turned_over else at_mrc.y)
        assert np.sort(found.y) == pytest.approx(y, abs=1.01), name
        if name in ("particles", "star"):
            psi = -plain.psi % 360 if turned_over else plain.psi
            assert found.psi[np.argsort(found.x)] == pytest.approx(psi[order], abs=1e-3)
    run = json.loads((tiff / "mrc/run.json").read_text())
    assert "y_from_last_row" not in run["micrographs"][0]
    assert "last row" not in (tiff / "mrc/mic_autopick.star").read_text()


def test_results_are_read_in_the_frame_of_the_file(tiff, gempick, basic, planted):
    """Evaluate, compare, convert, average, retune and the report know what the files of a TIFF mean."""
    gempick("pick", "tif", *basic, "--format", "star,box", "-o", "out", check=0)
    for name in ("grid1/mic", "grid2/mic", "grid2/other"):
        rows = [f"{x},{y},particle,{psi}" for (x, y), psi in planted.items()]
        path = tiff / f"truth/{name}_truth.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x,y,view,psi\n" + "\n".join(rows) + "\n")

    def f1(what):
        done = gempick("evaluate", what, "truth", "--tolerance", "3", "--shape", f"{NY},{NX}", "--json", check=0)
        return json.loads(done.stdout)["f1"]

    assert f1("out") == 1
    gempick("retune", "out", "--threshold", 0.4, check=0)
    assert f1("out") == 1
    gempick("convert", "out", "again", "--to", "csv", check=0)
    again = read_coordinates("again/grid2/other.csv").picks
    for x, y in planted:
        assert np.hypot(again.x - x, again.y - y).min() < 0.7
    gempick("convert", "out", "all_particles.star", "--to", "particles", check=0)
    particles = starfile.read("all_particles.star")["particles"]
    there = as_relion_reads("tif/grid1/mic.tif")
    mine = particles[particles.rlnMicrographName == "tif/grid1/mic.tif"]
    assert len(mine) == 4
    for pick in mine.itertuples():
        assert correlation(there, pick.rlnCoordinateX, pick.rlnCoordinateY, pick.rlnAnglePsi, mirrored=True) > 0.6
    gempick("convert", "all_particles.star", "back", "--micrographs", "tif", "--to", "csv", check=0)
    rows = read_coordinates("back/grid1/mic.csv").picks
    assert np.hypot(rows.x - 60.3, rows.y - 60.7).min() < 0.7
    gempick("templates", "average", "tif", "out", "-o", "average.mrc", "--box", "64", "--use-psi", check=0)
    assert np.corrcoef(mrcfile.read("average.mrc").ravel(), template()[12:76, 12:76].ravel())[0, 1] > 0.8


def test_extracted_particles_are_those_of_relion(tiff, gempick, basic):
    gempick("pick", "tif/grid1", *basic, "-o", "out", check=0)
    gempick("extract", "tif/grid1", "out", "--box", "64", "--no-normalize", "-o", "p.mrcs", check=0)
    stack, rows = mrcfile.read("p.mrcs"), starfile.read("p.star")["particles"]
    there = as_relion_reads("tif/grid1/mic.tif")
    assert len(rows) == 4
    for image, row in zip(stack, rows.itertuples(), strict=True):
        x, y = (int(np.floor(value + 0.5)) for value in (row.rlnCoordinateX, row.rlnCoordinateY))
        assert np.array_equal(image, there[y - 32 : y + 32, x - 32 : x + 32])
        assert correlation(there, x, y, row.rlnAnglePsi, mirrored=True) > 0.6


def test_the_proof_refuses_rows_counted_from_the_wrong_end(tiff, gempick, basic, monkeypatch):
    """A writer that forgets the flip, with enough particles to prove it."""
    rng = np.random.default_rng(4)
    places = [(60 + 90 * i + rng.uniform(-20, 30), 60 + 90 * j + rng.uniform(-20, 30)) for i, j in np.ndindex(5, 4)]
    image = -Blobs.image((420, 510), 2.0, places, rng.uniform(0, 360, 20)) + 0.3 * rng.standard_normal((420, 510))
    tifffile.imwrite("many.tif", image.astype(np.float32), resolution=(5e7, 5e7), resolutionunit="CENTIMETER")
    done = gempick("pick", "many.tif", *basic, "--format", "star,box", "-o", "good", check=0)
    (row,) = json.loads((tiff / "good/run.json").read_text())["micrographs"]
    assert [text.split(":")[0] for text in row["proof"].values()] == ["verified", "verified"]
    monkeypatch.setattr("napari_gempick.io.formats.base.carried", lambda picks, *rest: picks)
    done = gempick(
        "pick", "many.tif", *basic, "--format", "star,box", "-o", "bad", check=2
    )  # the only micrograph failed
    assert "flipped in y" in done.stderr and not list((tiff / "bad").glob("many_autopick.star"))


def test_picks_exported_from_the_window_turn_over_too(tiff, gempick, basic):
    gempick("pick", "tif/grid1", *basic, "-o", "out", check=0)
    picks = read_coordinates("out/mic_autopick.star").picks
    file = MicrographFile(tiff / "tif/grid1/mic.tif", PurePosixPath("mic.tif"))
    written = export_picks(tiff / "window", [Chosen(file, picks, ("particle",), (NY, NX), 2.0, 64)], ["star", "csv"])
    assert "y counts from the last row in the star files" in written.frame
    there = as_relion_reads("tif/grid1/mic.tif")
    for pick in starfile.read("window/mic_autopick.star").itertuples():
        assert correlation(there, pick.rlnCoordinateX, pick.rlnCoordinateY, pick.rlnAnglePsi, mirrored=True) > 0.6
    np.testing.assert_allclose(read_coordinates("window/mic.csv").picks.y, picks.y, atol=1e-3)


def test_astigmatism_turns_over_with_the_rows(tmp_path):
    from napari_gempick.inputs.preparation import Preparation
    from napari_gempick.model.settings import make_settings

    head = "data_\nloop_\n" + "".join(
        f"_rln{name}\n"
        for name in (
            "MicrographName",
            "DefocusU",
            "DefocusV",
            "DefocusAngle",
            "Voltage",
            "SphericalAberration",
            "AmplitudeContrast",
        )
    )
    (tmp_path / "ctf.star").write_text(head + "a.mrc 20000 15000 30 300 2.7 0.1\nb.tif 20000 15000 30 300 2.7 0.1\n")
    settings = make_settings({"ctf": str(tmp_path / "ctf.star"), "ctf_step": 0, "templates": ["x.mrc"]})
    preparation = Preparation(settings)
    assert preparation.ctf_of(tmp_path / "a.mrc").angle == 30
    assert preparation.ctf_of(tmp_path / "b.tif").angle == 150


def test_the_table_has_every_format():
    assert TIFF_ROWS.keys() == FORMATS.keys()
    assert {name for name, rows in TIFF_ROWS.items() if rows.from_bottom} == {
        "star",
        "particles",
        "box",
        "eman2",
        "cbox",
    }
    assert [is_tiff(name) for name in ("a.tif", "b/a.TIFF", "a.tif.mrc", "a.mrc", "", "tif")] == [
        True,
        True,
        *[False] * 4,
    ]
