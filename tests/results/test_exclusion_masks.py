"""Which exclusion mask holds for a micrograph: one that was edited by hand comes first."""

from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from napari_gempick.inputs.preparation import check_exclusion, read_exclusion
from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.stack import write_mrc
from napari_gempick.model.errors import InputError, SettingsError
from napari_gempick.model.settings import make_settings

SHAPE = (6, 9)


def mask(path, row):
    data = np.zeros(SHAPE, np.float32)
    data[row] = 1
    write_mrc(path, data, 2.0)


@pytest.mark.parametrize(
    ("there", "given", "row"),
    [
        ((), {}, None),
        (("own",), {}, 0),
        (("own", "found"), {"exclude": "auto"}, 0),
        (("found",), {"exclude": "auto"}, 2),
        (("other",), {"exclude_edited": "other"}, 1),
        (("other", "found"), {"exclude": "auto", "exclude_edited": "other"}, 1),
        (("own", "other", "masks"), {"exclude": "masks", "exclude_edited": "other"}, 0),
        (("elsewhere", "masks"), {"exclude": "masks", "exclude_edited": "other"}, 3),
        (("deeper",), {"exclude_edited": "other"}, 5),
    ],
)
def test_a_mask_that_was_edited_comes_first(tmp_path, there, given, row):
    places = {
        "own": "out/excluded_edited/grid/m.mrc.gz",
        "other": "other/grid/m.mrc.gz",
        "found": "out/excluded/grid/m.mrc.gz",
        "masks": "masks/m.mrc",
        "elsewhere": "other/n.mrc.gz",
        "deeper": "other/set/m.mrc.gz",
    }
    for place in there:
        mask(tmp_path / places[place], list(places).index(place))
    (tmp_path / "other").mkdir(exist_ok=True)
    given = {name: value if value == "auto" else str(tmp_path / value) for name, value in given.items()}
    micrograph = MicrographFile(Path("/absent/grid/m.mrc"), PurePosixPath("grid/m.mrc"))
    found = read_exclusion(make_settings(given), tmp_path / "out", micrograph, SHAPE)
    assert (found is None) if row is None else (np.flatnonzero(found.any(axis=1)) == [row]).all()


def test_a_mask_in_a_folder_has_the_whole_name_of_its_micrograph(tmp_path):
    for row, name in enumerate(("May08_03.05.02", "May08_03.13.02")):
        mask(tmp_path / f"masks/{name}.mrc.gz", row)
    micrograph = MicrographFile(Path("/absent/May08_03.13.02.tif"), PurePosixPath("May08_03.13.02.tif"))
    found = read_exclusion(make_settings({"exclude": str(tmp_path / "masks")}), tmp_path, micrograph, SHAPE)
    assert np.flatnonzero(found.any(axis=1)) == [1]


def test_edited_masks_are_not_missed_in_silence(tmp_path):
    micrograph = MicrographFile(Path("/absent/m.mrc"), PurePosixPath("m.mrc"))
    settings = make_settings({"exclude_edited": str(tmp_path / "gone")})
    with pytest.raises(InputError, match="gone is missing"):
        read_exclusion(settings, tmp_path, micrograph, SHAPE)
    with pytest.raises(SettingsError, match=r"--exclude-edited .*gone is not a folder"):
        check_exclusion(settings)
    for name in ("a", "b"):
        mask(tmp_path / "gone" / name / "m.mrc.gz", 0)
    with pytest.raises(InputError, match="may both be the edited mask"):
        read_exclusion(settings, tmp_path, micrograph, SHAPE)
