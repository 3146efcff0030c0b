"""The parameters of a micrograph's contrast transfer function."""

from __future__ import annotations

from dataclasses import dataclass, replace

ANGLE_STEP = 5.0
"""Degrees to which the direction of astigmatism is rounded in groups."""


@dataclass(frozen=True)
class Ctf:
    """Lens and defocus of a micrograph.

    Attributes
    ----------
    defocus_u, defocus_v : float
        Å, positive for underfocus, along `angle` and across.
    angle : float
        Degrees from the x axis towards larger rows (rlnDefocusAngle).
    voltage : float
        kV.
    cs : float
        mm.
    amplitude_contrast : float
        0..1.
    phase_shift : float
        Degrees; of a phase plate.
    """

    defocus_u: float
    defocus_v: float
    angle: float = 0.0
    voltage: float = 300.0
    cs: float = 2.7
    amplitude_contrast: float = 0.1
    phase_shift: float = 0.0

    def grouped(self, step: float) -> Ctf:
        """Return the defocus rounded to multiples of `step` Å, so that micrographs share a bank; 0 leaves it."""
        if step <= 0:
            return self
        u, v = (step * round(defocus / step) for defocus in (self.defocus_u, self.defocus_v))
        angle = 0.0 if u == v else ANGLE_STEP * round(self.angle / ANGLE_STEP) % 180
        return replace(self, defocus_u=u, defocus_v=v, angle=angle)
