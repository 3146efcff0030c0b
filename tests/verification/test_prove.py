"""Coordinates that prove themselves: every writer, the eight symmetries, planted mistakes, on three kinds of data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import napari_gempick as gp
from helpers import Blobs, upside_down
from napari_gempick.inputs.views import read_views
from napari_gempick.io.coordinates import read_coordinates
from napari_gempick.io.formats import FORMATS, PicksInfo
from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.io.images.row_order import from_bottom
from napari_gempick.io.stack import read_stack, write_mrc
from napari_gempick.model.errors import InputError, ProofError
from napari_gempick.model.geometry import Orientation
from napari_gempick.model.picks import Places
from napari_gempick.model.settings import PickSettings
from napari_gempick.verification.coordinate_check import other_readings
from napari_gempick.verification.parsers import read_plainly
from napari_gempick.verification.prove import MicrographProof, Prover

SAMPLE = Path(__file__).parents[2] / "sample_data"


class DataSet:
    """A micrograph, its templates, and the picks of one search."""

    def __init__(self, micrograph: Path, box: int, **settings: object) -> None:
        self.path, self.box = micrograph, box
        self.settings = PickSettings(**settings)
        self.views = read_views(self.settings)
        self.image = read_micrograph(micrograph, self.settings.pixel_size)
        arrays = {view.name: np.stack(view.templates) for view in self.views}
        masks = {view.name: view.mask_weights for view in self.views if view.mask_weights is not None}
        pixel_size = self.settings.template_pixel_size or self.views[0].pixel_size
        plain = {"pixel_size": self.image.pixel_size, "template_pixel_size": pixel_size}
        self.picks = gp.pick(self.image.data, arrays, self.settings.model_copy(update=plain), masks=masks).picks
        self.prover = Prover(self.settings, self.views)
        self.evidence = self.prover.evidence(micrograph)
        names = tuple(view.name for view in self.views)
        self.info = PicksInfo(self.image.pixel_size, box, names, f"mics/a mic{micrograph.suffix}", self.evidence.shape)

    def write(self, folder: Path, picks: gp.Picks, names=FORMATS) -> dict[str, object]:
        """Write picks in all formats; return the proof of each, or the sentence that refused it."""
        proofs, out = MicrographProof(self.prover, self.path, self.evidence.pixel_size), {}
        for name in names:
            path = folder / f"{name}{FORMATS[name].suffix}"
            try:
                proofs.write(name, path, picks, self.info)
                out[name] = proofs.proofs[name]
                path.unlink()
            except ProofError as error:
                assert not path.exists()
                out[name] = error.sentence
        return out


@pytest.fixture(scope="module", params=["sample", "klh", "apoferritin"])
def data(request, plan_cache) -> DataSet:
    if request.param == "sample":
        files = {kind: tuple(f"{v}={SAMPLE}/{kind}_{v}.mrc" for v in ("side", "top")) for kind in ("template", "mask")}
        more = {"lowpass": 35.2, "angle_step": 10}
        return DataSet(
            SAMPLE / "micrograph_001.mrc",
            130,
            templates=files["template"],
            mask=files["mask"],
            threshold=("0.5",),
            **more,
        )
    real = request.getfixturevalue("real_data")
    if request.param == "klh":
        templates = tuple(f"{v}={real}/klh/klh_{v}_average_4.4A.mrc" for v in ("side", "top"))
        mask = ("side=rectangle:405x405", "top=circle:370")
        more = {"min_distance": 180, "lowpass": 20, "angle_step": 10}
        return DataSet(real / "klh/klh_001.mrc", 276, templates=templates, mask=mask, **more)
    template = (f"{real}/apoferritin/apoferritin_average_1.5A.mrc",)
    more = {"pixel_size": 1.5, "lowpass": 15, "angle_step": 30}
    return DataSet(real / "apoferritin/May08_03.13.02.tif", 100, templates=template, **more)


def changed(data: DataSet, orientation: Orientation, shift: float = 0.0) -> gp.Picks:
    picks = replace(data.picks, x=data.picks.x + shift, y=data.picks.y + shift)
    return orientation.apply(picks, orientation.shape_after(data.evidence.shape))


def test_every_writer_is_verified(data: DataSet, tmp_path: Path) -> None:
    for name, proof in data.write(tmp_path, data.picks).items():
        assert (proof.state, proof.picks) == ("verified", min(100, len(data.picks))), (name, proof)
        assert proof.written > 0.75 > 0.4 > proof.other


def test_every_planted_mistake_of_every_writer_is_found(data: DataSet, tmp_path: Path) -> None:
    """A writer that flips, exchanges, shifts by half a box or bins by 2 is wrong, whatever the format."""
    half = data.box / 2
    fixes = {reading.name: reading.fix for reading in other_readings(data.box)}
    mistakes = {
        "flipped in y": changed(data, Orientation(flip_y=True)),
        "flipped in x": changed(data, Orientation(flip_x=True)),
        "with x and y exchanged": changed(data, Orientation(swap=True)),
        f"shifted by half a box ({-half:+.0f}, {-half:+.0f} px)": changed(data, Orientation(), -half),
        f"shifted by half a box ({half:+.0f}, {half:+.0f} px)": changed(data, Orientation(), half),
        "on a grid twice as coarse": changed(data, Orientation(0.5)),
        "on a grid twice as fine": changed(data, Orientation(2.0)),
    }
    for mistake, picks in mistakes.items():
        for name, sentence in data.write(tmp_path, picks.take(slice(0, 40))).items():
            assert f"{mistake} to 0." in sentence, (name, mistake, sentence)
            assert fixes[mistake] in sentence
    assert not list(tmp_path.iterdir())


def test_all_eight_symmetries_are_told_apart(data: DataSet, tmp_path: Path) -> None:
    readings = {reading.name: reading for reading in other_readings(data.box)}
    for number in range(1, 8):
        orientation = Orientation(1.0, bool(number & 1), bool(number & 2), bool(number & 4))
        for sentence in data.write(tmp_path, changed(data, orientation).take(slice(0, 40))).values():
            (found,) = (reading for name, reading in readings.items() if f"{name} to 0." in sentence)
            assert orientation.then(found.orientation) == Orientation(), (orientation, sentence)


def test_turned_coordinates_are_named_as_they_are_written() -> None:
    """A particle at (10, 20) of 200 columns and 100 rows lies at (79, 10) on the image turned clockwise."""
    readings = {reading.name: reading.orientation for reading in other_readings(50)}
    x, y, _ = readings["turned by 90 degrees clockwise"].carry(79.0, 10.0, 0.0, (100, 200))
    assert (x, y) == (10, 20)
    x, y, _ = readings["turned by 90 degrees counter-clockwise"].carry(20.0, 189.0, 0.0, (100, 200))
    assert (x, y) == (10, 20)


def test_a_flip_that_forgets_psi_and_a_wrong_sense_of_psi(data: DataSet, tmp_path: Path) -> None:
    forgotten = replace(changed(data, Orientation(flip_y=True)), psi=data.picks.psi)
    assert "flipped in y to 0." in data.write(tmp_path, forgotten, ["star"])["star"]
    found = data.write(tmp_path, replace(data.picks, psi=-data.picks.psi % 360), ["star"])["star"]
    if "apoferritin" in str(data.path):
        assert found.state == "verified"  # a disc has no angle
    else:
        assert "with psi counted clockwise to 0." in found


def test_plain_parsers_read_what_the_readers_read(data: DataSet, tmp_path: Path) -> None:
    """Two parsers that share nothing agree on every format."""
    for name, made in FORMATS.items():
        file = tmp_path / f"m{made.suffix}"
        made.write(file, data.picks, data.info)
        (plain,) = read_plainly(file, name, data.evidence.shape).values()
        found = read_coordinates(file, name, data.evidence.shape).on(data.path, data.evidence.shape, file).picks
        if from_bottom(name, data.path):
            plain = replace(plain, y=data.evidence.shape[0] - 1 - plain.y, psi=-plain.psi % 360)
        for field in ("x", "y", "psi"):
            np.testing.assert_allclose(getattr(plain, field), getattr(found, field), atol=1e-6)
        np.testing.assert_array_equal(plain.section, found.section)


def test_a_file_that_proves_wrong_never_gets_its_name(data: DataSet, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(FORMATS, "csv", upside_down(FORMATS["csv"]))
    proofs = MicrographProof(data.prover, data.path, data.evidence.pixel_size)
    proofs.write("star", tmp_path / "m.star", data.picks, data.info)
    with pytest.raises(ProofError, match=r"m\.csv was not written.*flipped in y to 0\.\d\d; use --flip-y\."):
        proofs.write("csv", tmp_path / "m.csv", data.picks, data.info)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.star"]
    assert proofs.proofs["star"].state == "verified"
    few = data.picks.take(slice(0, 5))
    proofs.write("csv", tmp_path / "m.csv", few, data.info)
    assert (proofs.proofs["csv"].state, (tmp_path / "m.csv").exists()) == ("not verifiable", True)
    settings = data.settings.model_copy(update={"pixel_size": data.image.pixel_size})
    for micrograph in (data.path, data.image.data):
        assert gp.verify(tmp_path / "m.star", micrograph, settings).state == "verified"


def test_random_places_prove_nothing(data: DataSet) -> None:
    random, (ny, nx) = np.random.default_rng(2), data.evidence.shape
    for n in (8, 20, 50):
        x, y = random.uniform(0, nx - 1, n), random.uniform(0, ny - 1, n)
        sections = random.integers(0, len(data.views), n)
        for psi, section in ((random.uniform(0, 360, n), sections), (np.full(n, np.nan), np.full(n, -1))):
            proof = data.prover.prove([(data.evidence, Places(x, y, psi, section))], data.box, 1.0)
            assert proof.state == "not verifiable", (n, proof)


def test_noise_proves_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    write_mrc(tmp_path / "noise.mrc", random.normal(size=(400, 500)).astype(np.float32), 2.0)
    write_mrc(tmp_path / "t.mrc", -Blobs.image((88, 88), 2.0, [(44, 44)]), 2.0)
    assert read_stack(tmp_path / "t.mrc").pixel_size == 2.0
    x, y = random.uniform(60, 440, 40), random.uniform(60, 340, 40)
    rows = "".join(f"{a},{b}\n" for a, b in zip(x, y, strict=True))
    (tmp_path / "noise.csv").write_text("x,y\n" + rows)
    settings = PickSettings(templates=(str(tmp_path / "t.mrc"),), mask=("circle:130",))
    proof = gp.verify(tmp_path / "noise.csv", tmp_path / "noise.mrc", settings)
    assert proof.state == "not verifiable"
    (tmp_path / "noise.csv").write_text("x,y\n1\n")
    with pytest.raises(InputError, match=r"noise\.csv is not what a plain parser of csv expects"):
        gp.verify(tmp_path / "noise.csv", tmp_path / "noise.mrc", settings)
