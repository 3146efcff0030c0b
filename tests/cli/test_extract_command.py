"""`gempick extract` as a user calls it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
import pytest
import starfile
from click.testing import CliRunner

from helpers import picks_at
from napari_gempick.cli import main
from napari_gempick.extraction.extract import Extraction, extract
from napari_gempick.extraction.settings import make_extract_settings
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import PicksInfo
from napari_gempick.io.formats.relion import write_autopick
from napari_gempick.io.formats.table import write_table
from napari_gempick.io.stack import write_mrc
from napari_gempick.io.star import write_tables
from napari_gempick.model.errors import Cancelled

if TYPE_CHECKING:
    from napari_gempick.model.picks import Picks

SHAPE = (120, 150)
NAMES = ("grid 1/mic", "grid2/mic", "grid2/other")
NEEDED = {  # what RELION's 2D classification reads
    "optics": "rlnOpticsGroupName rlnOpticsGroup rlnVoltage rlnSphericalAberration rlnAmplitudeContrast "
    "rlnImagePixelSize rlnImageSize rlnImageDimensionality",
    "particles": "rlnCoordinateX rlnCoordinateY rlnImageName rlnMicrographName rlnOpticsGroup rlnClassNumber "
    "rlnAnglePsi rlnAutopickFigureOfMerit",
}


def picks_of(number: int, n: int = 7) -> Picks:
    random = np.random.default_rng(number)
    x, y = random.uniform(20, 130, n), random.uniform(20, 100, n)
    score, section = np.sort(random.uniform(0.2, 1, n))[::-1], random.integers(0, 3, n)
    return picks_at(x, y, score=score, k=-1, section=section, psi=random.uniform(0, 360, n))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(100 + number).integers(-100, 100, SHAPE).astype(np.int8)
        write_mrc(f"mics/{name}.mrc", noise, 1.5)
        write_autopick(f"picks/{name}_autopick.star", picks_of(number), pixel_size=1.5)
    return tmp_path


def run(*arguments: object, status: int = 0) -> dict:
    result = CliRunner().invoke(main, ["extract", *map(str, arguments), "--json"])
    assert result.exit_code == status, result.stderr
    assert "Traceback" not in result.stderr
    return json.loads(result.stdout) if status < 2 else {"error": result.stderr}


def test_particles_can_be_slices_to_the_bit_and_the_star_file_says_which(work: Path) -> None:
    report = run("mics", "picks", "--box", "33", "--no-normalize", "-o", "out/p.mrcs")
    assert (report["particles"], report["micrographs"], report["at_edge"], report["outside"]) == (21, 3, 0, 0)
    tables = starfile.read("out/p.star")
    for block, labels in NEEDED.items():
        assert set(labels.split()) <= set(tables[block].columns)
    assert tables["optics"]["rlnImagePixelSize"].tolist() == [1.5]
    stack = mrcfile.read("out/p.mrcs")
    assert mrcfile.validate("out/p.mrcs")
    assert stack.dtype == np.float32
    rows = tables["particles"]
    assert rows["rlnMicrographName"].tolist() == [f"mics/{name}.mrc" for name in NAMES for _ in range(7)]
    for row in rows.itertuples():
        number, _, file = row.rlnImageName.partition("@")
        micrograph = mrcfile.read(row.rlnMicrographName)
        assert row.rlnCoordinateX == int(row.rlnCoordinateX) and row.rlnCoordinateY == int(row.rlnCoordinateY)
        top, left = int(row.rlnCoordinateY) - 16, int(row.rlnCoordinateX) - 16
        np.testing.assert_array_equal(stack[int(number) - 1], micrograph[top : top + 33, left : left + 33])
        assert file == "out/p.mrcs"
    first = picks_of(0)
    assert rows["rlnCoordinateX"].tolist()[:7] == np.trunc(first.x).tolist()
    picked = rows["rlnCoordinateX"][:7] - rows["rlnOriginXAngst"][:7] / 1.5
    np.testing.assert_allclose(picked, first.x, atol=6e-4)
    np.testing.assert_allclose(rows["rlnAnglePsiPrior"][:7], first.psi, atol=6e-4)
    np.testing.assert_allclose(rows["rlnAutopickFigureOfMerit"][:7], first.score, rtol=1e-6)
    assert rows["rlnClassNumber"].tolist()[:7] == (first.section + 1).tolist()
    with mrcfile.mmap("out/p.mrcs") as mrc:
        assert (mrc.voxel_size.x, mrc.is_image_stack()) == (1.5, True)
        assert mrc.header.dmean == pytest.approx(stack.mean(dtype=np.float64), abs=1e-5)
    back = read_coordinates("out/p.star").by_micrograph()["mics/grid2/mic.mrc"]
    assert (back.common("box_size"), len(back.picks)) == (33, 7)
    np.testing.assert_allclose(back.picks.y, picks_of(1).y, atol=6e-4)


def test_a_box_in_angstrom_is_an_even_number_of_pixels(work: Path) -> None:
    mics = ("mics", "picks")
    assert run(*mics, "--box", "46A", "--rescale", "12px", "-o", "a.mrcs")["particles"] > 0  # 30.7 px
    with mrcfile.open("a.mrcs") as stack:
        assert stack.data.shape[1:] == (12, 12)
    optics = starfile.read("a.star")["optics"]
    assert float(optics["rlnImagePixelSize"].iloc[0]) == pytest.approx(1.5 * 30 / 12)
    run(*mics, "--box", "46A", "--pixel-size", "2", "-o", "b.mrcs")  # the files say 1.5
    with mrcfile.open("b.mrcs") as stack:
        assert stack.data.shape[1:] == (24, 24)  # 23 px
    write_autopick(f"picks/{NAMES[0]}_autopick.star", picks_of(0), pixel_size=1.6)
    result = CliRunner().invoke(main, ["extract", *mics, "--box", "46A", "-o", "c.mrcs"])
    assert result.exit_code == 2 and "give --pixel-size, or px" in result.stderr


def test_any_number_of_threads_and_any_interruption_give_the_same_bytes(work: Path, monkeypatch) -> None:
    monkeypatch.setattr("napari_gempick.extraction.extract._CHUNK_BYTES", 4 * 4 * 40 * 40)
    options = ("--box", "40", "--rescale", "32", "--normalize", "--dust", "4", "--invert", "--dtype", "float16")
    for threads in (1, 3):
        run("mics", "picks", *options, "--threads", threads, "-o", f"t{threads}/p.mrcs")
    assert Path("t1/p.mrcs").read_bytes() == Path("t3/p.mrcs").read_bytes()
    assert mrcfile.read("t1/p.mrcs").dtype == np.float16
    stop = threading.Event()
    values = {"box": 40, "rescale": 32, "normalize": True, "dust": 4.0, "invert": True, "dtype": "float16"}
    what = Extraction(["mics"], Path("picks"), Path("t4/p.mrcs"), make_extract_settings(values), threads=1)
    with pytest.raises(Cancelled):
        extract(what, cancel=stop, progress=lambda share, text: share > 0.3 and stop.set())
    assert not Path("t4/p.mrcs").exists()
    with Path("t4/p.mrcs.partial/images.mrcs").open("ab") as stream:
        stream.write(b"half a particle")
    assert "--resume to continue" in run("mics", "picks", *options, "-o", "t4/p.mrcs", status=2)["error"]
    assert "other settings" in run("mics", "picks", "--box", "32", "-o", "t4/p.mrcs", "--resume", status=2)["error"]
    first = Path(f"picks/{NAMES[0]}_autopick.star")
    before = first.read_bytes()
    write_autopick(first, replace(picks_of(0), psi=picks_of(0).psi + 1), pixel_size=1.5)
    assert "not those that" in run("mics", "picks", *options, "-o", "t4/p.mrcs", "--resume", status=2)["error"]
    first.write_bytes(before)
    report = run("mics", "picks", *options, "-o", "t4/p.mrcs", "--resume")
    assert report["particles"] == 21
    assert Path("t4/p.mrcs").read_bytes() == Path("t1/p.mrcs").read_bytes()
    assert Path("t4/p.star").read_text() == Path("t1/p.star").read_text().replace("@t1/", "@t4/")
    assert sorted(path.name for path in Path("t4").iterdir()) == ["p.mrcs", "p.star"]
    assert "and 1 more already exist" in run("mics", "picks", *options, "-o", "t4/p.mrcs", status=2)["error"]


MICROGRAPHS = """
data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnSphericalAberration #5
_rlnAmplitudeContrast #6
hole1 1 0.75 200.0 1.4 0.07
hole2 2 0.75 200.0 1.4 0.07

data_micrographs

loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
_rlnCtfMaxResolution #6
"mics/grid 1/mic.mrc" 1 10100.5 9900.25 45.5 4.1
mics/grid2/mic.mrc 2 20100.5 19900.25 46.5 4.2
mics/grid2/other.mrc 2 30100.5 29900.25 47.5 4.3
"""


def test_ctf_and_optics_come_with_the_micrographs(work: Path) -> None:
    Path("micrographs_ctf.star").write_text(MICROGRAPHS)
    report = run("micrographs_ctf.star", "picks", "--box", "32", "--rescale", "16", "-o", "p.mrcs")
    assert (report["notes"], report["optics_groups"]) == ([], 2)
    tables = starfile.read("p.star")
    optics, rows = tables["optics"], tables["particles"]
    assert optics["rlnOpticsGroupName"].tolist() == ["hole1", "hole2"]
    assert (optics["rlnVoltage"][0], optics["rlnSphericalAberration"][0]) == (200, 1.4)
    assert (optics["rlnImagePixelSize"][0], optics["rlnImageSize"][0]) == (3.0, 16)
    assert optics["rlnMicrographOriginalPixelSize"].tolist() == [0.75, 0.75]
    assert rows["rlnDefocusU"].tolist() == [10100.5] * 7 + [20100.5] * 7 + [30100.5] * 7
    assert rows["rlnOpticsGroup"].tolist() == [1] * 7 + [2] * 14
    # the same from a folder and --ctf, and what is given wins
    run("mics", "picks", "--box", "32", "--ctf", "micrographs_ctf.star", "--voltage", "300", "-o", "q.mrcs")
    assert starfile.read("q.star")["optics"]["rlnVoltage"].tolist() == [300, 300]
    plain = run("mics", "picks", "--box", "32", "-o", "r.mrcs")
    assert "Assumed: voltage 300 kV, Cs 2.7 mm, amplitude contrast 0.1" in plain["notes"][0]
    assert "no CTF parameters" in plain["notes"][1]


def test_the_edge_is_a_choice(work: Path) -> None:
    picks = picks_at([5, 75, 149, 200], [60, 60, 119, 60], psi=np.nan)
    write_table("mic.csv", picks, PicksInfo())
    report = run("mics/grid2/mic.mrc", "mic.csv", "--box", "32", "-o", "p.mrcs")
    assert (report["particles"], report["at_edge"], report["outside"]) == (1, 2, 1)
    padded = run("mics/grid2/mic.mrc", "mic.csv", "--box", "32", "--edge", "pad", "--no-normalize", "-o", "q.mrcs")
    assert (padded["particles"], padded["at_edge"], padded["outside"]) == (3, 0, 1)
    corner = mrcfile.read("q.mrcs")[2]
    assert (corner[17:] == corner[16]).all() and (corner[:, 17:] == corner[:, 16:17]).all()
    rows = starfile.read("q.star")["particles"]
    assert rows["rlnAnglePsi"].tolist() == [-999] * 3 and rows["rlnAnglePsiPrior"].tolist() == [999] * 3


def test_a_micrograph_that_fails_midway_leaves_nothing(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_gempick.extraction.extract._CHUNK_BYTES", 4 * 2 * 32 * 32)
    last = picks_of(1)
    write_mrc("mics/grid2/mic.mrc", np.zeros(SHAPE, np.float32), 1.5)
    with Path("mics/grid2/mic.mrc").open("r+b") as stream:
        stream.seek(1024 + 4 * (int(last.y[-1]) * SHAPE[1] + int(last.x[-1])))
        stream.write(np.float32("nan").tobytes())
    Path("picks/grid2/mic_autopick.star").unlink()
    write_autopick("picks/grid2/mic_autopick.star", last, pixel_size=1.5)
    report = run("mics", "picks", "--box", "32", "-o", "p.mrcs", status=1)
    assert "mic.mrc has NaN or infinite pixels in a particle" in report["failed"][0]["error"]
    assert (report["particles"], len(mrcfile.read("p.mrcs"))) == (14, 14)
    names = starfile.read("p.star")["particles"]["rlnImageName"]
    assert [int(name.split("@")[0]) for name in names] == list(range(1, 15))
    assert len(mrcfile.read("p.mrcs")) == 14 and mrcfile.validate("p.mrcs")


def test_a_bad_micrograph_is_one_sentence_and_the_others_are_done(work: Path) -> None:
    path = Path("mics/grid2/mic.mrc")
    path.write_bytes(path.read_bytes()[:-100])
    report = run("mics", "picks", "--box", "32", "-o", "p.mrcs", status=1)
    (failed,) = report["failed"]
    assert "is truncated" in failed["error"] and (report["particles"], report["micrographs"]) == (14, 2)
    assert len(mrcfile.read("p.mrcs")) == 14


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mics", "picks", "-o", "p.mrc", "--box", "32"), "ends in .mrcs"),
        (("mics", "picks", "-o", "p.mrcs", "--box", "4"), "--box: 4 is too small"),
        (("mics", "picks", "-o", "p.mrcs"), "--box: Field required"),
        (("mics", "picks", "-o", "p.mrcs", "--box", "32", "--rescale", "40"), "larger than --box"),
        (("mics", "picks", "-o", "p.mrcs", "--box", "32", "--background-radius", "16"), "less than half"),
        (("mics/grid2/mic.mrc", "picks", "-o", "p.mrcs", "--box", "32"), "add --allow-unmatched"),
        (("mics", "-o", "p.mrcs", "--box", "32"), "the last argument, picks"),
        (("mics", "nothing.star", "-o", "p.mrcs", "--box", "32"), "nothing.star does not exist"),
        (("mics", "picks", "-o", "p.mrcs", "--box", "200"), "No particle is left"),
    ],
)
def test_errors_are_sentences(work: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in run(*arguments, status=2)["error"]
    assert not list(work.glob("p.mrcs*"))


def test_the_pixel_size_of_the_micrographs_list_counts(work: Path) -> None:
    names = [f"mics/{name}.mrc" for name in NAMES]
    write_tables("m.star", {"micrographs": {"rlnMicrographName": names, "rlnMicrographPixelSize": ["2.0"] * 3}})
    report = run("m.star", "picks", "--box", "32", "-o", "p.mrcs")
    assert starfile.read("p.star")["optics"]["rlnImagePixelSize"].tolist() == [2.0]
    words = "header gives a pixel size of 1.5 Å, but the STAR file gives 2 Å"
    differ = [note for note in report["notes"] if words in note]
    assert len(differ) == 3
    run("m.star", "picks", "--box", "32", "-o", "q.mrcs", "--pixel-size", "1.5")
    assert starfile.read("q.star")["optics"]["rlnImagePixelSize"].tolist() == [1.5]


@pytest.mark.parametrize("moment", ["images", "star"])
def test_an_end_that_was_cut_off_is_made_again(work: Path, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Killed after the images have their name and before the STAR file has its own, or just before both."""
    whole = run("mics", "picks", "--box", "33", "-o", "whole/p.mrcs")
    replace = os.replace

    class Killed(BaseException):
        pass

    def cut(source, target):
        if moment == "star":
            replace(source, target)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("napari_gempick.extraction.particle_stack.os.replace", cut)
        with pytest.raises(Killed):
            CliRunner().invoke(
                main, ["extract", "mics", "picks", "--box", "33", "-o", "out/p.mrcs"], catch_exceptions=False
            )
    assert not Path("out/p.star").exists() and Path("out/p.mrcs").exists() == (moment == "star")
    run("mics", "picks", "--box", "33", "-o", "out/p.mrcs", status=2)
    again = run("mics", "picks", "--box", "33", "-o", "out/p.mrcs", "--resume")
    assert again["particles"] == whole["particles"]
    assert Path("out/p.mrcs").read_bytes() == Path("whole/p.mrcs").read_bytes()
    assert Path("out/p.star").read_text() == Path("whole/p.star").read_text().replace("whole/", "out/")


def test_resuming_what_is_finished_is_no_error(work: Path) -> None:
    report = run("mics", "picks", "--box", "33", "-o", "p.mrcs")
    before = Path("p.mrcs").stat().st_mtime_ns
    again = run("mics", "picks", "--box", "33", "-o", "p.mrcs", "--resume")
    assert (again["particles"], again["micrographs"]) == (report["particles"], 3)
    assert "already complete" in again["notes"][0] and Path("p.mrcs").stat().st_mtime_ns == before
    assert (
        "boxes of 33 x 33 pixels and not of 35"
        in run("mics", "picks", "--box", "35", "-o", "p.mrcs", "--resume", status=2)["error"]
    )
