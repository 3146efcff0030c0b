"""Templates named as RELION names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.io.stack import read_mask, read_stack, write_mrc
from napari_gempick.io.star import read_tables, write_tables
from napari_gempick.io.template_list import copied_list, read_list
from napari_gempick.model.errors import InputError

IMAGES = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
IMAGES[1] = IMAGES[3] = 0
STACK = "Class2D/job4/run_it025_classes.mrcs"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_mrc(tmp_path / STACK, IMAGES, 2.0, stack=True)
    write_mrc(tmp_path / "other.mrcs", 2 * IMAGES, 2.0, stack=True)
    write_mrc(tmp_path / "one.mrc", IMAGES[0], 2.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(path: Path, label: str, names: list[str], block: str = "", **columns: list[str]) -> Path:
    write_tables(path, {block: {label: names, **columns}})
    return path


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize(
    ("label", "block"),
    [("rlnReferenceImage", ""), ("rlnReferenceImage", "model_classes"), ("rlnImageName", "particles")],
)
def test_the_images_of_a_list_in_its_order(
    project: Path, label: str, block: str, elsewhere: bool, tmp_path_factory: pytest.TempPathFactory, monkeypatch
) -> None:
    names = [f"000003@{STACK}", f"000001@{STACK}", "000005@other.mrcs", "one.mrc"]
    shares = ["0.5", "0.25", "0.15", "0.1"]
    star = written(project / "Select/job5/class_averages.star", label, names, block, rlnClassDistribution=shares)
    if elsewhere:  # names start at the STAR file's folder or one of its parents
        monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    stack = read_stack(star)
    np.testing.assert_array_equal(stack.data, [IMAGES[2], IMAGES[0], 2 * IMAGES[4], IMAGES[0]])
    assert stack.pixel_size == 2.0 and stack.shares == (0.5, 0.25, 0.15, 0.1)
    assert [(Path(path).name, section) for path, section in stack.origins] == [
        ("run_it025_classes.mrcs", 3),
        ("run_it025_classes.mrcs", 1),
        ("other.mrcs", 5),
        ("one.mrc", 1),
    ]
    assert stack.record[0]["class_distribution"] == 0.5
    np.testing.assert_array_equal(read_stack(f"{star}[2,4]").data, [IMAGES[0], IMAGES[0]])


def test_a_share_that_cannot_be_one_is_unknown(project: Path) -> None:
    names = [f"000001@{STACK}", f"000003@{STACK}", "one.mrc"]
    shares = ["1.5", "0.25", "-0.1"]
    assert read_stack(written(project / "m.star", "rlnReferenceImage", names, rlnClassDistribution=shares)).shares == (
        None,
        0.25,
        None,
    )


def test_empty_classes_of_a_list(project: Path) -> None:
    star = written(project / "m.star", "rlnReferenceImage", [f"{n:06d}@{STACK}" for n in range(1, 6)], "model_classes")
    stack = read_stack(star)
    np.testing.assert_array_equal(stack.data, IMAGES[[0, 2, 4]])
    assert stack.notes == (f"{star}: sections 2, 4 are empty and were left out.",) and stack.kept == (0, 2, 4)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"000009@{STACK}"], "names section 9 of .*which has sections 1 to 5"),
        ([f"000000@{STACK}"], "names section 0 of"),
        ([STACK], "names no section of .*which has sections 1 to 5"),
        (["000001@gone.mrcs"], "gone.mrcs does not exist"),
        ([f"000002@{STACK}", f"000004@{STACK}"], "l.star is empty"),
        ([], "lists no templates"),
    ],
)
def test_what_a_list_may_not_say(project: Path, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_stack(written(project / "l.star", "rlnReferenceImage", names))


def test_images_of_different_sizes_are_refused(project: Path) -> None:
    write_mrc(project / "large.mrc", np.pad(IMAGES[0], 4), 2.0)
    write_mrc(project / "coarse.mrc", IMAGES[0], 4.0)
    for name, message in (
        ("large.mrc", "images of different sizes"),
        ("coarse.mrc", "images of different pixel sizes"),
    ):
        with pytest.raises(InputError, match=message):
            read_stack(written(project / "l.star", "rlnReferenceImage", ["one.mrc", name]))
    assert read_stack(project / "l.star", 3.0).pixel_size == 3.0


def test_one_section_by_its_number(project: Path) -> None:
    np.testing.assert_array_equal(read_stack(f"000003@{STACK}").data, IMAGES[2:3])
    np.testing.assert_array_equal(read_stack(f"3@{project / STACK}").data, IMAGES[2:3])
    with pytest.raises(InputError, match="has sections 1 to 5"):
        read_stack(f"000006@{STACK}")
    write_mrc(project / "7@odd.mrc", IMAGES[0], 2.0)  # a file of that name wins
    np.testing.assert_array_equal(read_stack("7@odd.mrc").data, IMAGES[:1])
    write_mrc(project / "masks.mrcs", (np.abs(IMAGES) > 0).astype(np.float32), 2.0, stack=True)
    assert read_mask("000001@masks.mrcs").data.all()


def test_the_pixel_size_of_a_list_counts(project: Path) -> None:
    names = [f"000001@{STACK}", f"000003@{STACK}"]
    star = project / "run_it025_model.star"
    write_tables(star, {"model_general": {"rlnPixelSize": "3.0"}, "model_classes": {"rlnReferenceImage": names}})
    stack = read_stack(star)
    assert stack.pixel_size == 3.0
    assert len(stack.notes) == 1 and "gives a pixel size of 2 Å, but" in stack.notes[0]
    assert f"{star} gives 3 Å, which was taken" in stack.notes[0]
    assert read_stack(star, 4.0).pixel_size == 4.0 and read_stack(star, 4.0).notes == ()
    optics = {"rlnOpticsGroup": ["1"], "rlnImagePixelSize": ["2.01"]}
    write_tables(star, {"optics": optics, "particles": {"rlnImageName": names, "rlnOpticsGroup": ["1", "1"]}})
    assert (read_stack(star).pixel_size, read_stack(star).notes) == (2.01, ())


def test_a_copied_list_names_the_copies(project: Path) -> None:
    names = [f"000003@{STACK}", "one.mrc"]
    star = written(project / "l.star", "rlnReferenceImage", names, rlnClassDistribution=["0.7", "0.3"])
    files = {row.path: f"files/{number}.mrcs" for number, row in enumerate(read_list(star))}
    copied_list(star, files, project / "copy/l.star")
    table = read_tables(project / "copy/l.star")[""]
    assert table == {
        "rlnReferenceImage": ["000003@files/0.mrcs", "files/1.mrcs"],
        "rlnClassDistribution": ["0.7", "0.3"],
    }


@pytest.mark.parametrize(
    ("header", "listed", "given", "used", "words"),
    [
        (1.0, 1.5, None, 1.5, ["header gives a pixel size of 1 Å, but the STAR file gives 1.5 Å", "--pixel-size"]),
        (0.0, 1.5, None, 1.5, []),
        (1.5, 1.51, None, 1.51, []),  # within 1 %
        (1.5, 1.52, None, 1.52, ["1.5 Å, but the STAR file gives 1.52 Å"]),
        (177.0, 1.5, None, 1.5, []),  # nonsense in the header is not looked at
        (1.0, 1.5, 1.25, 1.25, []),
        (
            1.5,
            0.0,
            None,
            1.5,
            ["STAR file gives a pixel size of 0 Å, which is implausible", "1.5 Å of the MRC header"],
        ),
        (1.5, float("nan"), None, 1.5, ["nan Å, which is implausible"]),
        (0.0, -1.0, None, None, ["-1 Å, which is implausible"]),
    ],
)
def test_a_list_of_micrographs_and_their_headers(
    tmp_path: Path, header: float, listed: float, given: float | None, used: float | None, words: list[str]
) -> None:
    write_mrc(tmp_path / "m.mrc", IMAGES[0], header)
    micrograph = read_micrograph(tmp_path / "m.mrc", given, listed=listed)
    assert micrograph.pixel_size == used
    assert len(micrograph.warnings) == bool(words)
    for word in words:
        assert word in micrograph.warnings[0] and "m.mrc" in micrograph.warnings[0]
