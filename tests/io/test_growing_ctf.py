"""CTF parameters while they are written: what is cut is not believed, what is there counts."""

import os
from pathlib import Path

import pytest

from ctf_rows import HEAD, row
from napari_gempick.io.ctf import CtfTable
from napari_gempick.io.growing_ctf import GrowingCtf
from napari_gempick.model.errors import InputError

TEXT = """# Output from CTFFind version 4.1.14, run on 2020-01-01 00:00:00
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
    text = TEXT.format(name="a", defocus="15678.9")
    (folder / "a.txt").write_text(text[: text.index("15678") + 3])
    assert not ctf.update(20) and not ctf.has(Path("a.mrc"))
    (folder / "a.txt").write_text(text)
    assert not ctf.update(30) and not ctf.update(34)
    assert ctf.update(40) and ctf.of(Path("a.mrc")).defocus_u == 15678.9
    (folder / "b.txt").write_text(TEXT.format(name="b", defocus="20000.0"))
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
