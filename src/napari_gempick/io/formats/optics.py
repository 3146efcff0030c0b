"""RELION's labels of optics groups and of the CTF, and what is assumed where nothing is known."""

from __future__ import annotations

NAME, GROUP, GROUP_NAME = "rlnMicrographName", "rlnOpticsGroup", "rlnOpticsGroupName"
VOLTAGE, CS, AMPLITUDE = "rlnVoltage", "rlnSphericalAberration", "rlnAmplitudeContrast"
CTF = (
    "rlnDefocusU",
    "rlnDefocusV",
    "rlnDefocusAngle",
    "rlnPhaseShift",
    "rlnCtfBfactor",
    "rlnCtfScalefactor",
    "rlnCtfAstigmatism",
    "rlnCtfFigureOfMerit",
    "rlnCtfMaxResolution",
)
"""What is carried from a micrograph to its particles."""
ASSUMED = {
    VOLTAGE: ("300", "voltage 300 kV"),
    CS: ("2.7", "Cs 2.7 mm"),
    AMPLITUDE: ("0.1", "amplitude contrast 0.1"),
}
"""What particles get where nothing is known, and how a sentence calls it; RELION refuses particles without."""
