"""STAR files with defocus values, in RELION's layouts."""

from pathlib import Path

import pytest

from napari_gempick.io.ctf import CtfTable
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.errors import InputError

GROUPED = """
data_optics
loop_
_rlnOpticsGroupName
_rlnOpticsGroup
_rlnVoltage
_rlnSphericalAberration
_rlnAmplitudeContrast
first 1 300 2.7 0.1
second 2 200 1.4 0.07

data_micrographs
loop_
_rlnMicrographName
_rlnOpticsGroup
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnPhaseShift
MotionCorr/grid1/mic.mrc 1 21000 20000 33.5 0
MotionCorr/grid2/mic.mrc 2 15000 14500 -70 90
"""
FLAT = """
data_
loop_
_rlnMicrographName
_rlnVoltage
_rlnDefocusU
_rlnDefocusV
_rlnDefocusAngle
_rlnSphericalAberration
_rlnAmplitudeContrast
mic.mrc 300 21000 20000 33.5 2.7 0.1
mic.mrc 300 1 2 3 2.7 0.1
"""


def table(folder, text):
    (folder / "ctf.star").write_text(text)
    return CtfTable(folder / "ctf.star")


def test_optics_groups_and_equal_names_in_two_folders(tmp_path):
    ctf = table(tmp_path, GROUPED)
    assert ctf.of(Path("/data/grid1/mic.mrc")) == Ctf(21000, 20000, 33.5, 300, 2.7, 0.1, 0)
    assert ctf.of(Path("/data/grid2/mic.tif")) == Ctf(15000, 14500, -70, 200, 1.4, 0.07, 90)
    assert ctf.has(Path("mic.mrc")) and not ctf.has(Path("other.mrc"))
    with pytest.raises(InputError, match="no row for other"):
        ctf.of(Path("other.mrc"))


def test_rows_with_everything_and_the_first_of_a_micrograph_counts(tmp_path):
    assert table(tmp_path, FLAT).of(Path("mic.mrc")) == Ctf(21000, 20000, 33.5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("_rlnDefocusV\n", "_rlnOther\n"), "has no table with"),
        (("_rlnVoltage\n", "_rlnKV\n"), "has no rlnVoltage"),
        (("mic.mrc 2 15", "mic.mrc 3 15"), "no optics group 3"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        table(tmp_path, GROUPED.replace(*change))


@pytest.mark.parametrize(
    "change",
    [
        ("21000 20000", "nan 20000"),
        ("21000 20000", "21000 -nan"),
        ("21000 20000", "inf inf"),
        ("21000 20000", "0 0"),
        ("21000 20000", "0 20000"),
        ("21000 20000", "-21000 -20000"),
        ("21000 20000", "2.1e9 2.1e9"),
        ("21000 20000", "many 20000"),
        ("21000 20000", "<NA> None"),
        ("33.5 0", "nan 0"),
        ("33.5 0", "1e30 0"),
        ("33.5 0", "33.5 nan"),
        ("300 2.7", "300000 2.7"),
        ("300 2.7 0.1", "300 nan 0.1"),
        ("2.7 0.1", "2.7 7"),
    ],
)
def test_impossible_values_fail_their_own_micrograph_only(tmp_path, change):
    ctf = table(tmp_path, GROUPED.replace(*change))
    with pytest.raises(InputError, match=r"the values for MotionCorr/grid1/mic.mrc cannot be right") as caught:
        ctf.of(Path("/data/grid1/mic.mrc"))
    assert caught.value.path == "/data/grid1/mic.mrc"
    assert ctf.of(Path("/data/grid2/mic.mrc")).defocus_u == 15000


def test_with_a_phase_plate_the_focus_may_be_right(tmp_path):
    ctf = table(tmp_path, GROUPED.replace("15000 14500", "50 -80"))
    assert ctf.of(Path("/data/grid2/mic.mrc")) == Ctf(50, -80, -70, 200, 1.4, 0.07, 90)


def test_a_file_with_nothing_that_can_be_right_is_an_error_at_once(tmp_path):
    with pytest.raises(InputError, match="cannot be right"):
        table(tmp_path, FLAT.replace("21000", "nan"))
