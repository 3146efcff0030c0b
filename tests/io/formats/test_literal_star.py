"""STAR files as RELION, Gautomatch, crYOLO and Xmipp write them, typed from their documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from literal import TWO, assert_picks, read, spaced, written

from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

RELION_AUTOPICK = """
# version 30001

data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnAnglePsi #4
_rlnAutopickFigureOfMerit #5
  132.000000   232.000000            3   330.000000     0.500000
   10.250000    20.500000            1    90.000000     0.250000

"""


def test_relion_autopick(tmp_path: Path) -> None:
    found = read(tmp_path / "m_autopick.star", spaced(RELION_AUTOPICK))
    assert_picks(found, x=TWO.x, y=TWO.y, section=[2, 0], psi=[330, 90], score=TWO.score)
    assert written(tmp_path, "star") == (
        "\ndata_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnClassNumber #3\n_rlnAutopickFigureOfMerit #4\n"
        "_rlnAnglePsi #5\n_rlnMicrographPixelSize #6\n_rlnImageSize #7\n"
        "132.000 232.000 3 0.5 330.000 1.5 64\n10.250 20.500 1 0.25 90.000 1.5 64\n\n"
    )


RELION_PARTICLES = """
# version 50001

data_optics

loop_
_rlnOpticsGroupName #1
_rlnOpticsGroup #2
_rlnMicrographOriginalPixelSize #3
_rlnVoltage #4
_rlnImagePixelSize #5
_rlnImageSize #6
opticsGroup1            1     0.885000   200.000000     1.770000          128
opticsGroup2            2     1.000000   200.000000     1.000000           90


# version 50001

data_particles

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnImageName #3
_rlnMicrographName #4
_rlnOpticsGroup #5
_rlnClassNumber #6
  614.000000  1265.000000 000001@Extract/job007/Micrographs/a.mrcs MotionCorr/job002/Micrographs/a.mrc 1 4
  100.000000   200.000000 000001@Extract/job007/Micrographs/b.mrcs MotionCorr/job002/Micrographs/b.mrc 2 1
"""


def test_relion_particles_with_optics(tmp_path: Path) -> None:
    parts = read(tmp_path / "particles.star", spaced(RELION_PARTICLES)).by_micrograph()
    first, second = parts["MotionCorr/job002/Micrographs/a.mrc"], parts["MotionCorr/job002/Micrographs/b.mrc"]
    assert (first.common("box_size"), first.common("pixel_size")) == (256, 0.885)
    assert (second.common("box_size"), second.common("pixel_size")) == (90, 1)
    assert_picks(first, x=[614], y=[1265], section=[3])
    assert written(tmp_path, "particles") == (
        "\ndata_optics\n\nloop_\n_rlnOpticsGroupName #1\n_rlnOpticsGroup #2\n_rlnVoltage #3\n"
        "_rlnSphericalAberration #4\n_rlnAmplitudeContrast #5\n_rlnMicrographPixelSize #6\n_rlnImageSize #7\n"
        "opticsGroup1 1 300 2.7 0.1 1.5 64\n\n"
        "\ndata_particles\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnClassNumber #3\n"
        "_rlnAutopickFigureOfMerit #4\n_rlnAnglePsi #5\n_rlnMicrographName #6\n_rlnOpticsGroup #7\n"
        '132.000 232.000 3 0.5 330.000 "Micrographs/mic 1.mrc" 1\n'
        '10.250 20.500 1 0.25 90.000 "Micrographs/mic 1.mrc" 1\n\n'
    )
    with pytest.raises(InputError, match="an optics group that is not in data_optics"):
        read(tmp_path / "particles.star", RELION_PARTICLES.replace(" 2 1\n", " 7 1\n"))


GAUTOMATCH = """
data_

loop_
_rlnCoordinateX #1
_rlnCoordinateY #2
_rlnClassNumber #3
_rlnAnglePsi #4
_rlnAutopickFigureOfMerit #5
   132.00    232.00    2   330.00    0.500
    10.25     20.50    0    90.00    0.250
"""


def test_gautomatch_counts_classes_from_0(tmp_path: Path) -> None:
    found = read(tmp_path / "m_automatch.star", GAUTOMATCH)
    assert_picks(found, x=TWO.x, y=TWO.y, section=[2, 0], psi=[330, 90], score=TWO.score)
    assert_picks(read(tmp_path / "m.star", GAUTOMATCH), section=[1, -1])
    assert_picks(read(tmp_path / "m.star", GAUTOMATCH, format="Gautomatch"), section=[2, 0])
    assert written(tmp_path, "gautomatch").splitlines()[-3:-1] == [
        "132.000 232.000 2 0.5 330.000",
        "10.250 20.500 0 0.25 90.000",
    ]
    hand = read(tmp_path / "m_automatch.star", GAUTOMATCH.replace("    2   330.00    0.500", " -999 -999 -999"))
    assert (hand.picks.section.tolist()[0], np.isnan(hand.picks.psi[0])) == (-1, True)


CBOX = """
data_global

_cbox_format_version 1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
100.0 200.0 <NA> 64.0 64.0 <NA> 60.1 59.7 0.5 <NA> <NA>
-21.25 -11.0 <NA> 63.0 63.0 <NA> 60.1 59.7 0.25 <NA> <NA>

data_cryolo_include

loop_
_slice_index #1

"""


def test_cbox(tmp_path: Path) -> None:
    found = read(tmp_path / "m.cbox", spaced(CBOX))
    assert_picks(found, x=[132, 10.25], y=[232, 20.5], score=TWO.score)
    assert found.common("box_size") in (63, 64)
    blocks = written(tmp_path, "cbox").split("\ndata_")
    assert blocks[1] == "global\n\n_cbox_format_version 1.0\n"
    assert blocks[2].splitlines()[-3:] == [
        "100.000 200.000 <NA> 64 64 <NA> <NA> <NA> 0.5 <NA> <NA>",
        "-21.750 -11.500 <NA> 64 64 <NA> <NA> <NA> 0.25 <NA> <NA>",
        "",
    ]
    assert blocks[3] == "cryolo_include\n\nloop_\n_slice_index #1\n\n"


XMIPP = """# XMIPP_STAR_1 *
#
data_header
loop_
 _pickingMicrographState
Supervised
data_particles
loop_
 _itemId
 _enabled
 _xcoor
 _ycoor
 _cost
 _micrographId
 000001   1   132  232  0.5   000001
data_particles_auto
loop_
 _itemId
 _enabled
 _xcoor
 _ycoor
 _cost
 _micrographId
 000002   -1   7  8  0.9   000001
 000003   1   10  21  0.25   000001
"""


def test_xmipp(tmp_path: Path) -> None:
    assert_picks(read(tmp_path / "m.pos", XMIPP), x=[132, 10], y=[232, 21], score=TWO.score)
    by_hand = XMIPP.replace("0.5 ", "0 ").replace("0.25 ", "0 ")
    assert np.isnan(read(tmp_path / "m.pos", by_hand).picks.score).all()
    assert written(tmp_path, "xmipp") == (
        "# XMIPP_STAR_1 *\n#\ndata_header\nloop_\n _pickingMicrographState\nManual\ndata_particles\nloop_\n _itemId\n"
        " _enabled\n _xcoor\n _ycoor\n _cost\n _micrographId\n"
        " 000001   1   132  232  0.5   000003\n 000002   1   10  21  0.25   000003\n"
    )
