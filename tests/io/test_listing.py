from __future__ import annotations

import gzip
import math
import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrc_files import mrc_bytes
from napari_gempick.inputs.views import files_of_views
from napari_gempick.io.atomic import beside
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.listing import MicrographFile, find_micrographs, without_collisions
from napari_gempick.io.names import free_path, split_suffix
from napari_gempick.io.star import write_tables
from napari_gempick.model.errors import InputError
from napari_gempick.model.settings import make_settings


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("grid1/b.mrc", "grid1/a.mrc", "grid2/a.mrc", "grid2/deep er/c.mrc.gz", "grid2/.hidden.mrc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("grid1/notes.txt", "grid1/.cache/x.mrc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stems(*inputs: str | Path, **options: object) -> list[str]:
    return [file.output_stem for file in find_micrographs(inputs, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("m.mrc", "m"),
        ("m.MRC", "m"),
        ("m.mrcs", "m"),
        ("m.v2.tif", "m.v2"),
        ("m.tiff", "m"),
        ("m.mrc.gz", "m"),
        ("m.mrc.bz2", "m"),
        ("m.dat", "m.dat"),
    ],
)
def test_stem(name: str, stem: str) -> None:
    file = MicrographFile(Path("/x") / name, PurePosixPath("g") / name)
    assert (file.stem, file.output_stem) == (stem, f"g/{stem}")


def test_a_flat_folder_is_sorted_and_gives_plain_names_without_hidden_files(tree: Path) -> None:
    files = find_micrographs(["grid1"])
    assert [file.path for file in files] == [tree / "grid1/a.mrc", tree / "grid1/b.mrc"]
    assert [str(file.relative) for file in files] == ["a.mrc", "b.mrc"]
    assert find_micrographs("grid1") == find_micrographs(Path("grid1")) == files
    assert find_micrographs("grid1/*.mrc") == files


def test_equal_names_in_two_folders_keep_their_folders(tree: Path) -> None:
    assert stems("grid2", "grid1") == ["grid2/a", "grid2/deep er/c", "grid1/a", "grid1/b"]
    assert stems("grid1/a.mrc", "grid2/a.mrc") == ["grid1/a", "grid2/a"]


def test_subfolders_of_one_folder_are_kept(tree: Path) -> None:
    assert stems("grid2") == ["a", "deep er/c"]
    (tree / "grid2/a.mrc").unlink()
    assert stems("grid2") == ["deep er/c"]


def test_files_keep_their_order_and_a_file_given_twice_is_listed_once(tree: Path) -> None:
    assert stems("grid1/b.mrc", "grid1/a.mrc", tree / "grid1" / ".." / "grid1" / "b.mrc", "grid1") == ["b", "a"]


def test_globs(tree: Path) -> None:
    assert stems("grid*/a.mrc") == ["grid1/a", "grid2/a"]
    assert stems("**/*.mrc*") == ["grid1/a", "grid1/b", "grid2/a", "grid2/deep er/c"]
    assert stems("grid1/*") == ["a", "b"]


def test_a_file_with_brackets_in_its_name_is_a_file(tree: Path) -> None:
    (tree / "m[1].mrc").touch()
    assert stems("m[1].mrc") == ["m[1]"]


def test_the_output_folder_is_skipped(tree: Path) -> None:
    (tree / "grid1/out/maps").mkdir(parents=True)
    (tree / "grid1/out/maps/a_ncc.mrc").touch()
    assert stems("grid1", skip=["grid1/out"]) == ["a", "b"]
    assert stems("grid1/**", skip=["grid1/out"]) == ["a", "b"]
    assert stems("grid1", skip=["grid1"]) == ["a", "b", "out/maps/a_ncc"]
    assert stems("grid1/*.mrc", "grid1/out/maps/a_ncc.mrc", skip=["."]) == ["a", "b", "out/maps/a_ncc"]


def test_a_named_file_that_does_not_exist_is_listed(tree: Path) -> None:
    assert stems("grid1/a.mrc", "grid1/gone.mrc") == ["a", "gone"]


def test_equal_stems_in_one_folder_keep_their_suffix(tree: Path) -> None:
    (tree / "grid1/a.tif").touch()
    (tree / "grid1/a.mrc.tif").touch()
    assert stems("grid1") == ["a.mrc", "a.mrc.tif", "a.tif", "b"]


def test_links_to_folders_are_followed_once(tree: Path) -> None:
    os.symlink(tree / "grid1", tree / "grid2" / "link")
    os.symlink(tree / "grid2", tree / "grid2" / "loop")
    assert stems("grid2") == ["a", "deep er/c", "link/a", "link/b"]


@pytest.mark.parametrize("block", ["micrographs", "coordinate_files", "", "particles"])
def test_star_lists(tree: Path, block: str) -> None:
    names = ["grid2/deep er/c.mrc.gz", str(tree / "grid1/a.mrc"), "grid2/deep er/c.mrc.gz", "grid1/gone.mrc"]
    tables = {"optics": {"rlnOpticsGroup": ["1"]}, block: {"rlnMicrographName": names}}
    write_tables(tree / "list.star", tables)
    assert stems("list.star") == ["grid2/deep er/c", "grid1/a", "grid1/gone"]


def test_relative_names_in_a_star_file_are_found_from_its_parents(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tables(tree / "Ctf/job1/m.star", {"micrographs": {"rlnMicrographName": ["grid1/a.mrc", "grid1/b.mrc"]}})
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert [file.path for file in find_micrographs([tree / "Ctf/job1/m.star"])] == [
        tree / "grid1/a.mrc",
        tree / "grid1/b.mrc",
    ]


@pytest.mark.parametrize(
    ("given_input", "message"),
    [("grid1/.cache/empty", "no micrographs"), ("grid9/*.mrc", "matches no micrograph"), ("none.star", "not exist")],
)
def test_what_leads_to_no_micrograph_is_an_error(tree: Path, given_input: str, message: str) -> None:
    (tree / "grid1/.cache/empty").mkdir()
    with pytest.raises(InputError, match=message):
        find_micrographs([given_input])


def test_a_star_file_without_micrographs_and_no_input_at_all(tree: Path) -> None:
    write_tables(tree / "list.star", {"micrographs": {"rlnMicrographName": []}})
    with pytest.raises(InputError, match="lists no micrographs"):
        find_micrographs(["list.star"])
    with pytest.raises(InputError, match="no micrographs are given"):
        find_micrographs([])


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "a.mrc", "b"]), st.sampled_from([".mrc", ".tif", ".mrc.gz", ".mrcs", ""])),
        unique_by="".join,
    )
)
def test_output_stems_are_always_unique(names: list[tuple[str, str]]) -> None:
    files = [MicrographFile(Path("/x") / "".join(name), PurePosixPath("".join(name))) for name in names]
    found = [file.output_stem for file in without_collisions(files)]
    assert len(set(found)) == len(names)


def test_companions_and_files_of_several_sections_are_left_out_of_folders(tmp_path: Path) -> None:
    several = mrc_bytes(np.zeros((4, 4, 4), "f4"), ispg=1)
    small, wide = (mrc_bytes(np.zeros(shape, "f4")) for shape in ((4, 4), (4, 5)))
    one = mrc_bytes(np.zeros((16, 17), "f4"))
    (tmp_path / "average.mrc").write_bytes(small)
    (tmp_path / "wide.mrc").write_bytes(wide)
    (tmp_path / "five.mrc").write_bytes(mrc_bytes(np.zeros((5, 5), "f4")))
    for name in ("a.mrc", "a_noDW.mrc", "a_PS.mrc", "a_EVN.mrc", "a_ODD.mrc", "b_noDW.mrc", "c_ctf.mrc", "d_DW.mrc"):
        (tmp_path / name).write_bytes(one)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a_PS.mrc").write_bytes(one)  # its plain file lies elsewhere
    (tmp_path / "map.mrc").write_bytes(several)
    (tmp_path / "movie.mrc.gz").write_bytes(gzip.compress(mrc_bytes(np.zeros((3, 4, 4), "i2"))))
    (tmp_path / "damaged.mrc").write_bytes(several[:500])
    said: list[str] = []
    found = [file.output_stem for file in find_micrographs([tmp_path], notify=said.append)]
    assert found == ["a", "b_noDW", "c_ctf", "d_DW", "damaged", "five", "sub/a_PS", "wide"]
    assert said == [
        f"{tmp_path}: files written beside a micrograph are left out (a_EVN.mrc, a_ODD.mrc, a_PS.mrc and 1 more); "
        "name a file to pick it.",
        f"{tmp_path}: files with several sections are left out (map.mrc, movie.mrc.gz); name a file to pick it.",
        f"{tmp_path}: small square images like class averages are left out (average.mrc); name a file to pick it.",
    ]
    said.clear()
    assert stems(tmp_path / "a_PS.mrc", tmp_path / "average.mrc", tmp_path / "map.mrc") == ["a_PS", "average", "map"]
    assert stems(f"{tmp_path}/a_*.mrc") == ["a_EVN", "a_ODD", "a_PS", "a_noDW"]
    write_tables(tmp_path / "l.star", {"micrographs": {"rlnMicrographName": [str(tmp_path / "a_noDW.mrc")]}})
    assert stems(tmp_path / "l.star") == ["a_noDW"] and said == []


def test_the_images_of_a_job_are_no_micrographs(tmp_path: Path) -> None:
    several = mrc_bytes(np.zeros((3, 4, 4), "f4"))
    for name in ("job/mask/1", "job/templates/1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.mrcs").write_bytes(several)
    (tmp_path / "a.mrc").write_bytes(mrc_bytes(np.zeros((4, 4), "f4")))
    said: list[str] = []
    find_micrographs([tmp_path], notify=said.append)
    assert len(said) == 1, "they look like stacks where nothing says that they belong to a job"
    (tmp_path / "job/job.json").write_text("{}", encoding="utf-8")
    found = find_micrographs([tmp_path], notify=said.append)
    assert [file.output_stem for file in found] == ["a"] and len(said) == 1


def test_a_folder_with_nothing_but_volumes_has_no_micrographs(tmp_path: Path) -> None:
    (tmp_path / "map.mrc").write_bytes(mrc_bytes(np.zeros((4, 4, 4), "f4"), ispg=1))
    with pytest.raises(InputError, match="no micrographs"):
        find_micrographs([tmp_path])


OPTICS = {"rlnOpticsGroup": ["1", "2"], "rlnMicrographPixelSize": ["1.5", "0.83"]}
NAMES = {"rlnMicrographName": ["a.mrc", "b.mrc"]}
OLD = {"rlnMagnification": ["10000", "40000"], "rlnDetectorPixelSize": ["1.5", "5.0"]}


@pytest.mark.parametrize(
    ("optics", "rows", "sizes"),
    [
        (OPTICS, {**NAMES, "rlnOpticsGroup": ["2", "1"]}, [0.83, 1.5]),
        (OPTICS, {**NAMES, "rlnOpticsGroup": ["2", "3"]}, [0.83, None]),
        (OPTICS, {**NAMES, "rlnOpticsGroup": ["2", "1"], "rlnMicrographPixelSize": ["2", "3"]}, [2, 3]),
        (OPTICS, NAMES, [None, None]),
        ({"rlnOpticsGroup": ["1"], "rlnMicrographPixelSize": ["1.5"]}, NAMES, [1.5, 1.5]),
        ({"rlnMicrographPixelSize": ["1.5"]}, NAMES, [1.5, 1.5]),
        ({}, {**NAMES, "rlnMicrographPixelSize": ["1.1", "1.2"]}, [1.1, 1.2]),
        ({}, {**NAMES, **OLD}, [1.5, 1.25]),  # 1.5 um / 10000 = 1.5 Angstrom
        ({"rlnOpticsGroup": ["1"], "rlnMagnification": ["50000"], "rlnDetectorPixelSize": ["5"]}, NAMES, [1.0, 1.0]),
        ({}, {**NAMES, **OLD, "rlnImageName": ["1@x", "2@x"]}, [None, None]),  # of rescaled boxes
        ({"rlnOpticsGroup": ["1"], "rlnMicrographOriginalPixelSize": ["0.75"]}, NAMES, [None, None]),
        ({}, NAMES, [None, None]),
    ],
)
def test_the_pixel_size_of_listed_micrographs(
    tmp_path: Path, optics: dict, rows: dict, sizes: list[float | None]
) -> None:
    write_tables(tmp_path / "l.star", {**({"optics": optics} if optics else {}), "micrographs": rows})
    assert [file.pixel_size for file in find_micrographs([tmp_path / "l.star"])] == sizes


def test_a_size_that_is_no_number_and_a_micrograph_given_twice(tmp_path: Path) -> None:
    rows = {**NAMES, "rlnMicrographPixelSize": ["none", "1.5"]}
    write_tables(tmp_path / "l.star", {"micrographs": rows})
    files = find_micrographs([Path.cwd() / "b.mrc", tmp_path / "l.star"])
    assert [file.path.name for file in files] == ["b.mrc", "a.mrc"]
    assert files[0].pixel_size == 1.5 and math.isnan(files[1].pixel_size or 0)


def test_the_first_free_path(tmp_path):
    for expected in ("side.mrc", "side_2.mrc", "side_3.mrc"):
        path = free_path(tmp_path, "side", ".mrc")
        assert path == tmp_path / expected
        path.touch()
    assert free_path(tmp_path, "side.mrc", taken=lambda path: not path.exists()) == tmp_path / "side.mrc"


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("map_3.54A.mrc", "map_3.54A", ".mrc"),
        ("map_3.54A", "map_3.54A", ""),
        ("May08_03.05.02.tif", "May08_03.05.02", ".tif"),
        ("m.1.MRC.gz", "m.1", ".MRC.gz"),
        ("side.mrcs", "side", ".mrcs"),
        ("side.gz", "side", ".gz"),
        (".mrc", ".mrc", ""),
    ],
)
def test_only_known_suffixes_are_cut_off(name, stem, suffix):
    assert split_suffix(name) == (stem, suffix)
    assert beside(Path("out") / name, "_mask") == Path("out") / f"{stem}_mask{suffix}"
    assert beside(Path("out") / name, "", ".star") == Path("out") / f"{stem}.star"


def test_a_view_without_a_name_is_called_after_its_file():
    settings = make_settings({"templates": ["maps/map_3.54A.mrcs[1,2]", "C:\\maps\\side.mrc", "top=map_3.5A.mrc"]})
    assert list(files_of_views(settings)) == ["map_3.54A", "side", "top"]


@pytest.mark.parametrize("marker", ["run.json", "session.json"])
def test_images_in_a_folder_of_results_are_not_micrographs(tmp_path, marker):
    """Maps, masks and templates beside run.json or session.json; folders of these names elsewhere hold micrographs."""
    for name in (
        "gempick/maps/a_ncc.mrc",
        "gempick/masks/side.mrc",
        "gempick/templates/average.mrc",
        "maps/b.mrc",
        "a.mrc",
    ):
        write_mrc(tmp_path / name, np.zeros((8, 8), np.float32), 2.0)
    (tmp_path / "gempick" / marker).write_text("{}")
    assert [file.output_stem for file in find_micrographs([tmp_path])] == ["a", "maps/b"]
    named = find_micrographs([tmp_path / "gempick" / "templates"])
    assert [file.output_stem for file in named] == ["average"], "a folder that is named itself"
