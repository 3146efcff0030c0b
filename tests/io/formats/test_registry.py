"""One registry: names, endings, what a format says of itself, and which format a file has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_gempick.io.coordinates import PICK_FILES
from napari_gempick.io.formats import FORMATS, format_named, format_of
from napari_gempick.model.errors import InputError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def test_what_formats_declare() -> None:
    names = [name for made in FORMATS.values() for name in (made.name, *made.aliases)]
    assert len(names) == len(set(names))
    for name, made in FORMATS.items():
        assert (made.name, made.help[:1].strip() != "", "\n" in made.help) == (name, True, False)
        assert (made.set_writer is None) == (made.holds == "micrograph")
        assert all(sentence.endswith(".") for sentence in made.loses.values())


@pytest.mark.parametrize(
    ("name", "found"),
    [("star", "star"), ("RELION", "star"), (" cryosparc ", "cs"), ("json", "eman2"), ("scipion", "xmipp")],
)
def test_names_and_aliases(name: str, found: str) -> None:
    assert format_named(name).name == found


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"coordinate format starr; choose one of star, particles.*, csv\."):
        format_named("starr")


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("m_autopick.star", "", "star"),
        ("particles.star", "", "star"),
        ("M_AUTOMATCH.STAR", "", "gautomatch"),
        ("m.box", "", "box"),
        ("m_info.json", "", "eman2"),
        ("m.json", "", "eman2"),
        ("m.cbox", "", "cbox"),
        ("m.cs", "", "cs"),
        ("m.pos", "", "xmipp"),
        ("m.csv", "image_name\tx_coord", "csv"),
        ("m.tsv", "x\ty", "tsv"),
        ("m.tsv", "image_name\tx_coord\ty_coord", "topaz"),
        ("m.txt", "image_name\tx_coord\ty_coord", "topaz"),
        ("m.txt", "\ufeffimage_name\tx_coord\ty_coord", "topaz"),
        ("m.txt", "iPik corrVal X Y", "gempicker"),
        ("m.txt", "x y", "csv"),
    ],
)
def test_the_format_of_a_file(tmp_path: Path, name: str, line: str, found: str) -> None:
    (tmp_path / name).write_text(line + "\n1\n")
    assert format_of(tmp_path / name).name == found


def test_the_format_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no suffix of a coordinate format .*takes --from"):
        format_of(tmp_path / "m.dat")
    with pytest.raises(InputError, match="does not exist"):
        format_of(tmp_path / "m.txt")


def test_folders_are_searched_for_what_is_surely_coordinates_first() -> None:
    assert PICK_FILES[:3] == ("*_autopick.star", "*_automatch.star", "*_info.json")
    assert PICK_FILES[-2:] == ("*.txt", "*.tab")
    assert "*.json" not in PICK_FILES
