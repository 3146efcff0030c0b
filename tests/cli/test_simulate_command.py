"""`gempick simulate` as a user calls it, and the project's sample data against the command that made them."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner, Result

from napari_gempick.cli import main
from napari_gempick.io.ctf import CtfTable

SAMPLE_DATA = Path(__file__).parents[2] / "sample_data"
SMALL = ("--size", "320x256", "--particles", "3", "--map-pixel-size", "17.6")
FILES = {
    "micrograph_001.mrc", "micrograph_001_truth.csv", "micrograph_002.mrc", "micrograph_002_truth.csv", "map.mrc",
    "template_side.mrc", "template_top.mrc", "mask_side.mrc", "mask_top.mrc", "micrographs_ctf.star", "simulation.json",
}  # fmt: skip


def simulate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


def read(path: Path) -> tuple[np.ndarray, float]:
    with mrcfile.open(path) as mrc:
        return np.array(mrc.data), float(mrc.voxel_size.x)


def test_sample_data_come_from_the_command_in_their_readme(tmp_path):
    (line,) = (
        line.strip()
        for line in (SAMPLE_DATA / "README.md").read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("gempick simulate")
    )
    words = shlex.split(line)[2:]
    words[words.index("-o") + 1] = str(tmp_path)
    result = simulate(*words)
    assert result.exit_code == 0, result.output
    assert {path.name for path in SAMPLE_DATA.iterdir() if path.suffix != ".py"} == FILES | {"README.md"}
    for name in sorted(FILES):
        made, kept = tmp_path / name, SAMPLE_DATA / name
        if name.endswith(("_truth.csv", ".star")):
            assert made.read_bytes() == kept.read_bytes()
        elif name.endswith(".mrc"):  # FFT libraries differ in the last bits
            (new, new_pixel), (old, old_pixel) = read(made), read(kept)
            assert new.dtype == old.dtype
            assert new_pixel == old_pixel
            one_level = 1 if old.dtype == np.int8 else 1e-4 * float(np.ptp(old))
            assert np.abs(new.astype(np.float64) - old).max() <= one_level
        else:
            new, old = (json.loads(path.read_text()) for path in (made, kept))
            for entry in (*new["micrographs"], *old["micrographs"]):
                assert entry.pop("grey_step") == pytest.approx(0.0066, abs=2e-4)
                assert entry.pop("grey_offset") == pytest.approx(0.99, abs=0.01)
            assert new == old
    assert sum(path.stat().st_size for path in SAMPLE_DATA.iterdir()) < 8e6


def test_outputs_headers_and_json(tmp_path):
    result = simulate(*SMALL, "--count", 2, "--template-pixel-size", 8.8, "--json", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == FILES
    record = json.loads(result.stdout)
    assert record["settings"]["seed"] == 0
    assert {name: value for name, value in record.items() if name != "output"} == json.loads(
        (tmp_path / "simulation.json").read_text()
    )
    image, pixel = read(tmp_path / "micrograph_002.mrc")
    assert image.shape == (256, 320)
    assert image.dtype == np.float32
    assert pixel == pytest.approx(4.4)
    for name in ("template_side", "template_top", "mask_side", "mask_top"):
        array, pixel = read(tmp_path / f"{name}.mrc")
        assert array.shape == (64, 64)
        assert pixel == pytest.approx(8.8)
    volume, pixel = read(tmp_path / "map.mrc")
    assert volume.shape == (32, 32, 32)
    assert pixel == pytest.approx(17.6)
    with (tmp_path / "micrograph_001_truth.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["x", "y", "view", "psi"]
    assert len(rows) == 3
    assert sum(record["micrographs"][0]["particles"].values()) == 3


def test_the_list_of_the_micrographs_gives_their_ctf(tmp_path):
    """Underfocus in Å: the micrographs' defocus in µm is that of simulation.json."""
    assert simulate(*SMALL, "--count", 2, "--voltage", 200, "--cs", 1.2, "-o", tmp_path).exit_code == 0
    record = json.loads((tmp_path / "simulation.json").read_text())
    table = CtfTable(tmp_path / "micrographs_ctf.star")
    for entry in record["micrographs"]:
        ctf = table.of(tmp_path / entry["file"])
        assert (ctf.defocus_u, ctf.defocus_v) == pytest.approx([1e4 * entry["defocus"]] * 2, abs=1)
        assert (ctf.voltage, ctf.cs, ctf.amplitude_contrast) == (200, 1.2, 0.1)


def test_equal_seed_equal_bytes(tmp_path):
    for folder, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert simulate(*SMALL, "--dtype", "float16", "--seed", seed, "-o", tmp_path / folder).exit_code == 0
    a, b, c = ({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in "abc")
    assert a == b
    assert a["micrograph_001.mrc"] != c["micrograph_001.mrc"]
    assert read(tmp_path / "a" / "micrograph_001.mrc")[0].dtype == np.float16


def test_existing_files_are_kept_unless_told_otherwise(tmp_path):
    assert simulate(*SMALL, "-o", tmp_path).exit_code == 0
    before = (tmp_path / "micrograph_001.mrc").read_bytes()
    refused = simulate(*SMALL, "--seed", 1, "-o", tmp_path)
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "micrograph_001.mrc" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "micrograph_001.mrc").read_bytes() == before
    assert simulate(*SMALL, "--seed", 1, "--overwrite", "-o", tmp_path).exit_code == 0
    assert (tmp_path / "micrograph_001.mrc").read_bytes() != before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "3x"), "--size"),
        (("--size", "20"), "between 64 and"),
        (("--snr", "-1"), "--snr"),
        (("--snr", "nan"), "--snr"),
        (("--defocus", "0.1"), "defocus-spread"),
        (("--particles", "500"), "lower --particles"),
    ],
)
def test_errors_are_one_sentence(tmp_path, arguments, said):
    result = simulate("--size", "300", *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_states_units_and_defaults():
    text = " ".join(simulate("--help").stdout.split())
    for words in (
        "[µm] [default: 2]",
        "[kV] [default: 300]",
        "[mm] [default: 2.7]",
        "[px] [default: 1024]",
        "[default: 0]",
    ):
        assert words in text
