from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from gemmi import cif
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from napari_gempick.io.star import (
    formatted,
    loop_rows,
    numbers,
    parse_tables,
    quote,
    read_table,
    read_tables,
    write_tables,
)
from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

RELION_30 = """
# RELION; version 3.0.8

data_

loop_|
_rlnCoordinateX #1|
_rlnCoordinateY #2|
_rlnImageName #3|
_rlnComment #4
  1724.000000   192.500000 000001@Extract/job007/Micrographs/a#1.mrcs  None
   924.000000  1042.000000 000002@Extract/job007/Micrographs/a#1.mrcs  "two words"|
|
""".replace("|", " ")

RELION_31 = """
# version 30001

data_optics

loop_|
_rlnOpticsGroupName #1|
_rlnOpticsGroup #2|
_rlnMicrographPixelSize #3|
opticsGroup1            1     0.885000|
|

# version 30001

data_micrographs

loop_|
_rlnMicrographName #1|
_rlnOpticsGroup #2|
data_run1/Grid é/20170629_00021.mrc            1|
save_me/ü.mrc            1|
'My Data/with $ and it's.mrc'            1|
$HOME/x.mrc 1
|
""".replace("|", " ")

RELION_LIST = """
data_general

_rlnFinalResolution                     3.100000
_rlnMaskName            "my mask.mrc"

"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "my file.star"
    path.write_bytes(text.encode())
    return path


def test_one_unnamed_block_as_relion_30_writes_it(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, RELION_30), None, ["rlnCoordinateX"])
    assert numbers(table, "rlnCoordinateX", "x").tolist() == [1724, 924]
    assert table["rlnImageName"][0] == "000001@Extract/job007/Micrographs/a#1.mrcs"
    assert table["rlnComment"] == ["None", "two words"]
    assert list(read_tables(written(tmp_path, RELION_30))) == [""]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_optics_and_micrographs_as_relion_31_writes_them(tmp_path: Path, line_end: str, mark: str) -> None:
    path = written(tmp_path, mark + RELION_31.replace("\n", line_end))
    with pytest.raises(
        InputError, match="line 20: 3 values, but the table has 2 columns"
    ):  # a space without quotes parts two words
        read_tables(path)
    path = written(tmp_path, mark + RELION_31.replace("Grid é", "Grid_é").replace("\n", line_end))
    table = read_table(path, "micrographs")
    expected = ["data_run1/Grid_é/20170629_00021.mrc", "save_me/ü.mrc", "My Data/with $ and it's.mrc", "$HOME/x.mrc"]
    assert table["rlnMicrographName"] == expected
    assert read_table(path, None, ["rlnMicrographPixelSize"])["rlnOpticsGroupName"] == ["opticsGroup1"]


def test_one_column_of_names_that_look_like_blocks(tmp_path: Path) -> None:
    path = written(tmp_path, "data_\n\nloop_\n_rlnMicrographName #1\ndata_a/1.mrc\ndata_a/2.mrc\n")
    assert read_tables(path) == {"": {"rlnMicrographName": ["data_a/1.mrc", "data_a/2.mrc"]}}


def test_pairs(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, RELION_LIST), "general")
    assert table == {"rlnFinalResolution": ["3.100000"], "rlnMaskName": ["my mask.mrc"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_\nloop_\n_a\n_b\n1 2 3\n", r"line 5: 3 values, but the table has 2 columns"),
        ("data_\nloop_\n_a\n_b\n1 2\n3\n4 5\n", r"line 6: 1 value, but the table has 2 columns"),
        ("data_\nloop_\n_a\n_b\n1\n2\n", r"line 5: 1 value"),  # a value a line is CIF, not RELION
        ("data_\n_a 1\n\n'open\n", r"line 4: a quotation mark without an end"),
        ("_a 1\n", r"line 1: a block must begin"),
        ("data_x\n_a 1\n_a 2\n", r"line 3: the label _a for a second time"),
        ("data_x\nloop_\n_a\n_a\n1 2\n", r"line 4: the label _a for a second time"),
        ("data_x\n_a\n", r"line 2: neither a label with its value"),
        ("data_x\nloop_\n_a #1\n\n;open\n", r"line 5: a text field without an end"),
    ],
)
def test_malformed(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=rf"my file\.star is not a readable STAR file \(.*{message}") as caught:
        read_tables(path)
    assert caught.value.path == str(path)


def test_any_misplaced_value_is_an_error_with_its_line(tmp_path: Path) -> None:
    """Two errors that make up for each other would exchange columns in silence."""
    rows = [f"{i}.5 {i + 7}.25 0.{i % 9}" for i in range(40)]
    head = "data_\nloop_\n_x #1\n_y #2\n_score #3\n"
    assert len(read_table(written(tmp_path, head + "\n".join(rows)))["x"]) == 40
    for odd in ([rows[7] + " 9"], [rows[7].rsplit(" ", 1)[0]], [rows[7], "9"], [*rows[7].rsplit(" ", 1)]):
        changed = [*rows[:7], *odd, *rows[8:20], *rows[20:30], rows[30] + " 1 2"]
        with pytest.raises(InputError, match=r"line (13|14): \d values?, but the table has 3 columns"):
            read_table(written(tmp_path, head + "\n".join(changed)))


def test_blocks_of_the_same_name_are_all_there(tmp_path: Path) -> None:
    text = "data_x\n_a 1\ndata_x\n_b 1\n\ndata_x\nloop_\n_c\n5\n\n_d 6\n_e 7\n"
    assert read_tables(written(tmp_path, text)) == {
        "x": {"a": ["1"]},
        "x (2)": {"b": ["1"]},
        "x (3)": {"c": ["5"], "d": ["6"], "e": ["7"]},
    }


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_letters_in_any_of_the_usual_encodings(tmp_path: Path, encoding: str, line_end: str) -> None:
    text = "data_\nloop_\n_rlnMicrographName #1\n_rlnCoordinateX #2\nMüller/a.mrc 100\n"
    path = tmp_path / "l.star"
    path.write_bytes(text.replace("\n", line_end).encode(encoding))
    assert read_table(path) == {"rlnMicrographName": ["Müller/a.mrc"], "rlnCoordinateX": ["100"]}


def test_text_fields_of_cif(tmp_path: Path) -> None:
    text = "data_\nloop_\n_a\n_b\n1 \n;two\nlines\n;\n2 x\n"
    assert read_table(written(tmp_path, text)) == {"a": ["1", "2"], "b": ["two\nlines", "x"]}


_VALUES = st.sampled_from(
    ["1", "-2.5e3", "é", "a'b", "'two words'", "data_x", "loop_", "_label", "_x.mrc", "x;", "a#b"]
)
_GAPS = st.text(" \t\f\v", min_size=1, max_size=3)


@given(st.integers(1, 5), st.lists(st.lists(_VALUES, max_size=5), max_size=6), st.data())
def test_rows_that_are_taken_at_once_are_those_of_line_by_line(
    n: int, rows: list[list[str]], data: st.DataObject
) -> None:
    """A comment between any two rows has each read by itself. Most rows have the right length here."""
    rows = [row if data.draw(st.integers(0, 9)) == 0 else (row * n or ["0"] * n)[:n] for row in rows]
    lines = [data.draw(_GAPS).join(row) + data.draw(st.sampled_from(["", " ", "\t"])) for row in rows]
    head = "data_\n\nloop_\n" + "".join(f"_c{number} #{number}\n" for number in range(n))
    tail = data.draw(st.sampled_from(["", "\n", " \ndata_b\n_d 1\n", "\nloop_\n_d\n_e\n_f\n1 2 3\n4 5 6\n"]))

    def outcome(between: str) -> object:
        try:
            return parse_tables(head + "".join(f"{line}\n{between}" for line in lines) + tail, "x.star")
        except InputError as error:
            return re.sub(r"line \d+", "", error.sentence)

    assert outcome("") == outcome("# comment\n")


def test_what_looks_like_one_more_row() -> None:
    tables = parse_tables("data_\nloop_\n_a\n1\n2\ndata_b\n_c 3\n", "x.star")
    assert tables == {"": {"a": ["1", "2"]}, "b": {"c": ["3"]}}
    with pytest.raises(InputError, match="line 8: 1 value, but the table has 3 columns"):
        parse_tables("data_\nloop_\n_a\n_b\n_c\n1 2 3\n4 5 6\n7 # 9\n", "x.star")


def test_a_text_field_after_rows_that_could_be_taken_at_once() -> None:
    rows = "1 2 3\n4 5 6\n7 8\n;nine\n;\n10 11 12\n"
    assert parse_tables(f"data_\nloop_\n_a\n_b\n_c\n{rows}", "x.star")[""]["c"] == ["3", "6", "nine", "12"]
    with pytest.raises(InputError, match=r"line 8: 4 values, but the table has 3 columns"):
        parse_tables(f"data_\nloop_\n_a\n_b\n_c\n{rows.replace('7 8', '7 8 9')}", "x.star")


def test_not_text_missing_and_folder(tmp_path: Path) -> None:
    (tmp_path / "b.star").write_bytes(b"\xff\xfe\x00data_")
    for name, message in (("b.star", "not a text file"), ("c.star", "does not exist"), (".", "is a folder")):
        with pytest.raises(InputError, match=message):
            read_tables(tmp_path / name)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, RELION_31.replace("Grid é", "Grid"))
    with pytest.raises(InputError, match="no data_particles block \\(only data_optics, data_micrographs\\)"):
        read_table(path, "particles")
    with pytest.raises(InputError, match="no table with the column _rlnCoordinateX;"):
        read_table(path, None, ["rlnOpticsGroup", "rlnCoordinateX"])
    with pytest.raises(InputError, match="_rlnMicrographName"):
        read_table(path, "optics", ["rlnMicrographName"])
    with pytest.raises(InputError, match="no table"):
        read_table(written(tmp_path, ""), None, ["rlnCoordinateX"])


def test_what_is_no_number_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "data_\nloop_\n_a\n1\nhello\n")
    with pytest.raises(InputError, match="_a in row 2 is 'hello', which is not a number"):
        numbers(read_table(path), "a", path)


def test_a_line_break_does_not_end_a_row(tmp_path: Path) -> None:
    path, columns = tmp_path / "t.star", {"a": ["one\ntwo", "b"]}
    write_tables(path, {"": columns})
    assert "\n;one\ntwo\n;" in path.read_text()


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS, WORDS), max_size=5), WORDS)
@example([("a b", "it's"), ('"a\' b" c', ""), ("data_x", "data_x/y"), ("é ü", " ")], "$x")
@example([("a", "one"), ("loop_", "two"), ("b", "three")], "x")
@example([("loop_", "stop_"), ("?", "."), (";x", "#x"), ("_x", "[x]"), ("\u00a0", "a\u2003b")], "save_")
def test_any_text_survives(tmp_path: Path, rows: list[tuple[str, str]], value: str) -> None:
    path = tmp_path / "t.star"
    columns = {"a": [row[0] for row in rows], "gempickB": [row[1] for row in rows]}
    write_tables(path, {"": columns, "list": {"a": value, "b": "1"}})
    assert read_tables(path) == {"": columns, "list": {"a": [value], "b": ["1"]}}
    first = path.read_bytes()
    write_tables(path, {"": columns, "list": {"a": value, "b": "1"}})
    assert path.read_bytes() == first
    assert os.listdir(tmp_path) == ["t.star"]


@pytest.mark.parametrize("value", ["a b", "it's", 'a"b', 'a\'b "c"', "é x", "", "x y'"])
def test_quotes_are_such_that_relion_reads_them(value: str) -> None:
    """RELION ends a quoted word at the first quote of its kind before white space, and reads no text fields."""
    quoted = quote(value)
    inner = quoted[1:-1] if quoted[:1] in ("'", '"') else quoted
    assert inner == value
    assert cif.as_string(quoted) == value


@pytest.mark.parametrize("odd", ["", "1\n2", "1 2", "e'", "data_1", "é"])
def test_one_odd_value_among_numbers_is_quoted(odd: str) -> None:
    columns = {"a": ["1.5", odd, "-2e-07"], "b": ["1", "2", "3"]}
    wanted = [" ".join(map(quote, row)) for row in zip(*columns.values(), strict=True)]
    assert loop_rows(columns) == "".join(f"{row}\n" for row in wanted)


def test_the_layout_is_relions(tmp_path: Path) -> None:
    write_tables(tmp_path / "t.star", {"general": {"rlnA": "1"}, "": {"rlnX": ["1", "2"], "rlnName": ["a b", "c"]}})
    text = '\ndata_general\n\n_rlnA 1\n\ndata_\n\nloop_\n_rlnX #1\n_rlnName #2\n1 "a b"\n2 c\n\n'
    assert (tmp_path / "t.star").read_text() == text


@given(
    values=st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.5]), max_size=30),
    kind=st.sampled_from([np.float32, np.float64]),
    form=st.sampled_from(["%r", "%.9g", "%.6g"]),
)
def test_numbers_are_formatted_one_by_one_or_each_value_once(values: list[float], kind: type, form: str) -> None:
    """Also 0.0 beside -0.0, and values that are not numbers."""
    for column in (np.array(values, kind), np.array(values * 5, kind)):
        assert formatted(form, column) == [form % value for value in column.tolist()]
