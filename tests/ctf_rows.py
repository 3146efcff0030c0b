"""Rows of a STAR file with the CTF of micrographs, as RELION wrote them before version 3.1."""

HEAD = """data_

loop_
_rlnMicrographName #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnDefocusU #5
_rlnDefocusV #6
_rlnDefocusAngle #7
"""


def row(name, defocus=15678.9, angle=45.25):
    """One row, with its line feed; defocus in Å."""
    return f"{name} 300.0 2.7 0.1 {defocus} 15000.5 {angle}\n"
