"""Lengths with their units, where the files tell the pixel size: 2 Å here."""

import json

import mrcfile
import numpy as np
import pytest

from napari_gempick.io.stack import write_mrc


def settings(folder):
    return json.loads((folder / "run.json").read_text())["settings"]


def test_pick_and_retune_take_the_pixel_size_of_the_files(data, gempick, basic):
    (data / "grid1/broken.mrc").write_bytes(b"broken")  # is reported by itself
    lengths = ("--diameter", "66px", "--min-distance", "40PX", "--border", "30A", "--mask", "particle=circle:33pxx")
    wrong = gempick("pick", "grid1", *basic, *lengths, "-o", "out", check=2)
    assert "write circle:D, ellipse:AxB or rectangle:AxB" in wrong.stderr
    gempick("pick", "grid1", *basic, *lengths[:-1], "ellipse:60pxx124Å", "-o", "out", check=1)
    used = settings(data / "out")
    assert (used["diameter"], used["min_distance"], used["border"]) == (132, 80, 30)
    assert used["mask"][-1] == "ellipse:120x124"
    gempick("retune", "out", "--min-distance", "35px", check=1)
    assert settings(data / "out")["min_distance"] == 70
    gempick("pick", "grid1/mic.mrc", *basic, "--border", "15px", "--pixel-size", "3", "-o", "three", check=0)
    assert settings(data / "three")["border"] == 45
    gempick("pick", "grid1/mic.mrc", "--config", "three/run.json", "--border", "10px", "-o", "again", check=0)
    assert settings(data / "again")["border"] == 30


def test_a_pixel_size_beside_another_one_in_the_header_is_said(data, gempick, basic):
    said = "the header gives a pixel size of 2 Å, but --pixel-size gives 3 Å, which was taken"
    assert said in gempick("job", "export", "grid1", *basic, "--pixel-size", "3", "-o", "job", check=0).stderr
    with mrcfile.open(data / "grid2/mic.mrc", "r+") as file:
        file.voxel_size = 1  # as where nobody filled it in
    for name, size in (("grid1", "2.01"), ("grid2", "3")):
        done = gempick("pick", f"{name}/mic.mrc", *basic, "--pixel-size", size, "-o", f"{name}_out", check=0)
        assert "the header" not in done.stderr


def test_pixels_need_one_pixel_size(data, gempick, basic):
    write_mrc(data / "grid2/third.mrc", np.random.default_rng(0).standard_normal((60, 80)).astype(np.float32), 2.5)
    done = gempick("pick", "grid1", "grid2", *basic, "--border", "20px", "-o", "out", check=2)
    assert "third.mrc one of 2.5 Å; give --pixel-size, or lengths in Å." in done.stderr
    assert not (data / "out").exists()
    done = gempick("watch", "grid1", *basic, "--border", "20px", "-o", "out", check=2)
    assert "20px needs the pixel size; give --pixel-size, or the length in Å." in done.stderr


@pytest.mark.parametrize(
    ("shape", "box", "size"),
    [("disc:120A", "101Å", 50), ("disc:60px", "50px", 50), ("ring:60pxx80A", "100A", 50)],
)
def test_shapes(tmp_path, monkeypatch, gempick, shape, box, size):
    monkeypatch.chdir(tmp_path)
    made = gempick("templates", "shapes", shape, "-o", "out.mrc", "--pixel-size", "2", "--box", box, "--json", check=0)
    assert json.loads(made.stdout)["box"] == size
