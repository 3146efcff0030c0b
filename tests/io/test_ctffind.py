"""The text that CTFFIND writes, one file for each micrograph."""

from pathlib import Path

import pytest

from napari_gempick.io.ctf import CtfTable
from napari_gempick.model.ctf import Ctf
from napari_gempick.model.errors import InputError

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
        (("micrographs: 1", "micrographs: 2"), "run it on each micrograph alone"),
        (("1.000000 8984.5", "#"), "0 rows"),
        (("acceleration", "some"), "does not say the voltage"),
        (("8984.5", "many"), "not a number"),
        (("8984.5", "nan"), "cannot be right"),
        (("200.0 keV", "200000 keV"), "cannot be right"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, sentence):
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
