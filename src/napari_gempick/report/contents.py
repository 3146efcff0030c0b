"""What the report of a run shows: plain values, gathered by `report.gather`, laid out by `report.html`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ViewReport:
    """A view of the particle.

    Attributes
    ----------
    name : str
    picks : int
    threshold : float or None
        The median over the micrographs; None where no score is above chance.
    false_rate : float or None
        Estimated share of false picks, where decoys were searched.
    sections : int
        Templates of the view.
    mask : str
    template, mean : (n, n) float or None
        The first template, and the mean of `averaged` particles turned back by psi, on the same grid.
    averaged : int
    particles : list of (n, n) float
        As they lie in their micrographs, the best first.
    scores : list of float
        Of the particles.
    candidates, chosen : (bins,) int64
        Histograms of the scores of all candidates and of the picks.
    """

    name: str
    picks: int
    threshold: float | None
    false_rate: float | None
    sections: int
    mask: str
    template: NDArray[Any] | None
    mean: NDArray[Any] | None
    averaged: int
    particles: list[NDArray[Any]]
    scores: list[float]
    candidates: NDArray[np.int64]
    chosen: NDArray[np.int64]

    @property
    def threshold_text(self) -> str:
        """For a person."""
        return "-" if self.threshold is None else f"{round(self.threshold, 3):g}"

    @property
    def template_text(self) -> str:
        """What stands below the picture of the template."""
        return f"template 1 of {self.sections}" if self.sections > 1 else "template"

    @property
    def mean_text(self) -> str:
        """What stands below the mean image."""
        return f"mean of {self.averaged}, turned by psi" if self.averaged else "no particles"


@dataclass(frozen=True, eq=False)
class RunReport:
    """A run of `gempick pick`.

    Attributes
    ----------
    name : str
        Of the folder.
    program, state : str
        As run.json has them.
    views : list of ViewReport
    edges : (bins + 1,) float
        Of the histograms.
    micrographs : list of dict
        The lines of run.json.
    settings : list of (name, value, is the default)
    facts : list of (name, value)
        Devices, versions, sizes.
    box : float
        Side of the pictures of particles, Å.
    diameter : float
        Å.
    overlay : bytes or None
        PNG of a micrograph with its picks.
    overlay_name : str
    notes : list of str
    """

    name: str
    program: str
    state: str
    views: list[ViewReport]
    edges: NDArray[np.float64]
    micrographs: list[dict[str, Any]]
    settings: list[tuple[str, str, bool]]
    facts: list[tuple[str, str]]
    box: float
    diameter: float
    overlay: bytes | None = None
    overlay_name: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def done(self) -> list[dict[str, Any]]:
        """The micrographs that were picked."""
        return [row for row in self.micrographs if "error" not in row]

    @property
    def picks(self) -> int:
        """Of all micrographs."""
        return sum(int(row["picks"]) for row in self.done)


def grey(image: NDArray[Any], deviations: float = 3.0) -> NDArray[np.uint8]:
    """Return an image as 8-bit grey levels, from `deviations` standard deviations below its mean to as many above."""
    mean, deviation = float(np.mean(image)), float(np.std(image)) or 1.0
    return np.clip((image - mean) / deviation / (2 * deviations) * 255 + 127.5, 0, 255).astype(np.uint8)
