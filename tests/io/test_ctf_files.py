"""CTF parameters: RELION's STAR files, CTFFIND's texts, and both while they are written."""

import os
from pathlib import Path

import pytest

from ctf_rows import HEAD, row
from napari_gempick.io.ctf import CtfTable, GrowingCtf
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
def test_what_is_wrong_with_a_star_file_is_named(tmp_path, change, sentence):
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


TEXT = """# Output from CTFFind version 5.0.2, run on 2020-01-01 00:00:00
# Input file: /data/sum of 7.mrc ; Number of micrographs: 1
# Pixel size: 0.930 Angstroms ; acceleration voltage: 200.0 keV ; spherical aberration: 1.40 mm ; amplitude contrast: 0.07
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 3.5 Angstroms ; min. def.: 0.0 um; max. def. 50000.0 um
# Columns: #1 - micrograph number; #2 - defocus 1 [Angstroms]; #3 - defocus 2; #4 - azimuth of astigmatism
1.000000 8984.5 8709.25 -45.5 1.570796 0.446317 inf 221.9 12.2 1619.7
"""  # noqa: E501
LENS = Ctf(8984.5, 8709.25, -45.5, 200, 1.4, 0.07, pytest.approx(90, abs=1e-4))


def test_files_belong_to_the_micrographs_of_their_names(tmp_path):
    for number, name in enumerate(("a/mic_1.txt", "b/mic_1_diag.txt", "mic_1_2_PS.txt", "mic_1_avrot.txt")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(TEXT.replace("8984.5", f"{10000 + number}"))
    (tmp_path / "notes.txt").write_text("anything")
    ctf = CtfTable(tmp_path)
    assert ctf.of(Path("/x/a/mic_1.mrc")).defocus_u == 10000
    assert ctf.of(Path("/x/b/mic_1.mrc")).defocus_u == 10001
    assert ctf.of(Path("mic_1_2.tif")).defocus_u == 10002
    assert not ctf.has(Path("mic.mrc")) and not ctf.has(Path("mic_1_avrot.mrc"))
    with pytest.raises(InputError, match="no row for mic"):
        ctf.of(Path("mic.mrc"))


def test_the_name_that_adds_least_counts(tmp_path):
    for number, name in enumerate(("mic_ctf_diag.txt", "mic_diag.txt", "mic_aligned_ctf.txt")):
        (tmp_path / name).write_text(TEXT.replace("8984.5", f"{10000 + number}"))
    ctf = CtfTable(tmp_path)
    assert [ctf.of(Path(f"{name}.mrc")).defocus_u for name in ("mic_ctf", "mic", "mic_aligned")] == [
        10000,
        10001,
        10002,
    ]
    (tmp_path / "mic_ctf_diag.txt").unlink()
    (tmp_path / "mic_diag.txt").unlink()
    assert not CtfTable(tmp_path).has(Path("mic.mrc"))  # another micrograph's


def test_one_file_of_another_name_belongs_to_its_input(tmp_path):
    (tmp_path / "diagnostic_output.txt").write_text(TEXT)
    assert CtfTable(tmp_path / "diagnostic_output.txt").of(Path("sum of 7.mrc")) == LENS


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("micrographs: 1", "micrographs: 2"), "run CTFFIND on each micrograph separately"),
        (("1.000000 8984.5", "#"), "0 rows"),
        (("acceleration", "some"), "does not say the voltage"),
        (("8984.5", "many"), "not a number"),
        (("8984.5", "nan"), "cannot be right"),
        (("200.0 keV", "200000 keV"), "cannot be right"),
    ],
)
def test_what_is_wrong_with_a_text_is_named(tmp_path, change, sentence):
    (tmp_path / "mic.txt").write_text(TEXT.replace(*change))
    for path in (tmp_path / "mic.txt", tmp_path):
        with pytest.raises(InputError, match=sentence) as error:
            CtfTable(path)
        assert "mic.txt" in str(error.value)


def test_rotational_averages_and_other_folders_are_refused(tmp_path):
    (tmp_path / "mic_avrot.txt").write_text(TEXT)
    with pytest.raises(InputError, match="rotational averages"):
        CtfTable(tmp_path / "mic_avrot.txt")
    with pytest.raises(InputError, match="holds no text files"):
        CtfTable(tmp_path)


@pytest.mark.parametrize(
    "change",
    [("8984.5", "nan"), ("8984.5", "********"), ("8984.5 8709.25", "0 0"), ("micrographs: 1", "micrographs: 2")],
)
def test_a_bad_file_of_a_folder_fails_its_own_micrograph_only(tmp_path, change):
    (tmp_path / "good.txt").write_text(TEXT)
    (tmp_path / "bad_ctf.txt").write_text(TEXT.replace(*change))
    ctf = CtfTable(tmp_path)
    assert ctf.of(Path("good.mrc")) == LENS
    with pytest.raises(InputError, match=r"bad_ctf"):
        ctf.of(Path("bad.mrc"))


SHORT_TEXT = """# Output from CTFFind version 4.1.14, run on 2020-01-01 00:00:00
# Input file: {name}.mrc ; Number of micrographs: 1
# Pixel size: 1.000 Å ; acceleration voltage: 300.0 keV ; spherical aberration: 2.70 mm ; amplitude contrast: 0.10
# Box size: 512 pixels ; min. res.: 30.0 Angstroms ; max. res.: 5.0 Angstroms
# Columns: #1 - micrograph number; ...
1.000000 {defocus} 15000.0 12.0 0.000000 0.1 5.0
"""


def test_a_star_file_that_comes_and_grows_row_by_row(tmp_path):
    star = tmp_path / "ctf.star"
    ctf = GrowingCtf(star, 5)
    assert not ctf.update(10) and not ctf.has(Path("a.mrc")) and "does not exist yet" in ctf.problem
    with pytest.raises(InputError, match="no row for a"):
        ctf.of(Path("a.mrc"))
    star.write_text(HEAD + row("mics/a.mrc"))
    assert ctf.update(20) and not ctf.update(30)
    assert ctf.of(Path("mics/a.mrc")).defocus_u == 15678.9 and ctf.problem == ""
    with star.open("a") as stream:
        stream.write(row("mics/b.mrc"))
    assert not ctf.has(Path("mics/b.mrc"))
    assert ctf.update(40) and ctf.has(Path("mics/b.mrc"))


def test_no_cut_anywhere_gives_a_value_that_the_whole_file_does_not_give(tmp_path):
    """As a writer leaves it at any moment; without care the last number of a row would be read short."""
    whole = HEAD + row("a.mrc") + row("b.mrc", 21234.5, 30.75)
    (tmp_path / "whole.star").write_text(whole)
    right = CtfTable(tmp_path / "whole.star")
    star, known = tmp_path / "ctf.star", 0
    for end in range(len(HEAD) - 5, len(whole) + 1):
        star.write_text(whole[:end])
        ctf = GrowingCtf(star, 5)
        ctf.update(10)
        for name in (Path("a.mrc"), Path("b.mrc")):
            if ctf.has(name):
                assert ctf.of(name) == right.of(name), whole[:end][-30:]
                known += 1
    assert known == 3, "one after the first row, both after the second"


def test_one_that_ends_without_a_line_feed_is_believed_when_it_stays_so(tmp_path):
    star = tmp_path / "ctf.star"
    star.write_text(HEAD + row("a.mrc").rstrip())
    ctf = GrowingCtf(star, 5)
    assert not ctf.update(10) and not ctf.update(14)
    assert ctf.update(20) and ctf.of(Path("a.mrc")).angle == 45.25
    assert not ctf.update(30)


def test_a_text_of_ctffind_counts_when_it_has_not_changed_for_the_settle_time(tmp_path):
    folder = tmp_path / "ctf"
    ctf = GrowingCtf(folder, 5)
    assert not ctf.update(10)
    folder.mkdir()
    text = SHORT_TEXT.format(name="a", defocus="15678.9")
    (folder / "a.txt").write_text(text[: text.index("15678") + 3])
    assert not ctf.update(20) and not ctf.has(Path("a.mrc"))
    (folder / "a.txt").write_text(text)
    assert not ctf.update(30) and not ctf.update(34)
    assert ctf.update(40) and ctf.of(Path("a.mrc")).defocus_u == 15678.9
    (folder / "b.txt").write_text(SHORT_TEXT.format(name="b", defocus="20000.0"))
    assert not ctf.update(50) and ctf.has(Path("a.mrc")) and not ctf.has(Path("b.mrc"))
    assert ctf.update(60) and ctf.of(Path("b.mrc")).defocus_u == 20000.0
    assert not ctf.update(70)


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path):
    star = tmp_path / "ctf.star"
    star.write_text(HEAD + row("a.mrc"))

    def replaced():
        if replaced.once:
            replaced.once = False
            star.write_text(HEAD + row("a.mrc", 20000.0) + row("b.mrc"))
        return "table"

    replaced.once = True
    ctf = GrowingCtf(star, 5, replaced)
    assert not ctf.update(10) and ctf.also is None
    assert ctf.update(20) and ctf.also == "table"
    assert ctf.of(Path("a.mrc")).defocus_u == 20000.0


def test_what_is_wrong_with_it_is_kept_for_the_message(tmp_path):
    star = tmp_path / "ctf.star"
    star.write_text("data_\n\nloop_\n_rlnMicrographName #1\na.mrc\n")
    ctf = GrowingCtf(star, 5)
    assert not ctf.update(10) and "rlnDefocusU" in ctf.problem
    star.write_text(HEAD + row("a.mrc"))
    os.utime(star, (1, 1))
    assert ctf.update(20) and ctf.problem == ""
