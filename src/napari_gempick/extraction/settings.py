"""Every parameter of particle extraction, declared once: the command line and the window read this."""

from __future__ import annotations

import functools
from typing import Literal

from pydantic import model_validator

from napari_gempick.model.declaration import Settings, declare

_shown = functools.partial(declare, group="Particles")


class ExtractSettings(Settings):
    """Settings of an extraction. Sizes are in pixels of the micrograph unless stated otherwise."""

    box: int = _shown(..., "Side of the square cut out of the micrograph.", unit="px", ge=8, le=4096)
    rescale: int | None = _shown(
        None,
        "Side of the particles after a Fourier crop of the box. Default: the box, pixels as they are.",
        unit="px",
        ge=8,
        le=4096,
        label="Rescale to",
        empty="off",
    )
    normalize: bool = _shown(
        True,
        "Zero mean and unit standard deviation of the background, outside the circle of --background-radius.",
        label="Normalise",
    )
    ramp: bool = declare(
        True,
        "Normalising subtracts the plane that fits the background best, as RELION does; --no-ramp: only its mean.",
        group=None,
    )
    background_radius: float | None = declare(
        None,
        "Radius of that circle. Default: 0.375 of the side, rounded down.",
        unit="px of the particle",
        gt=0,
        group=None,
    )
    invert: bool = _shown(
        False, "Change the sign of the pixels, as RELION expects bright particles.", label="Invert contrast"
    )
    dust: float | None = declare(
        None,
        "Replace pixels more than this many standard deviations from the box's mean by the median of the good pixels "
        "around them. Default: keep all.",
        unit="standard deviations",
        ge=2,
        group=None,
    )
    edge: Literal["skip", "pad"] = declare(
        "skip",
        "Boxes that extend beyond the micrograph: skip leaves the particle out, pad repeats the micrograph's edge.",
        group=None,
    )
    dtype: Literal["float32", "float16"] = _shown(
        "float32", "Type of the pixels in the stack (MRC mode 2 or 12); RELION >= 4 reads float16.", label="Type"
    )
    voltage: float | None = _shown(
        None,
        "Acceleration voltage. Default: from the STAR file of the micrographs, else 300.",
        unit="kV",
        gt=0,
        empty="300 kV",
    )
    cs: float | None = _shown(
        None,
        "Spherical aberration. Default: from the STAR file of the micrographs, else 2.7.",
        unit="mm",
        ge=0,
        empty="2.7 mm",
    )
    amplitude_contrast: float | None = _shown(
        None,
        "Amplitude contrast. Default: from the STAR file of the micrographs, else 0.1.",
        ge=0,
        le=1,
        label="Ampl. contrast",
        empty="0.1",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ExtractSettings:
        if self.rescale is not None and self.rescale > self.box:
            raise ValueError(f"--rescale {self.rescale} is larger than --box {self.box}; particles only become smaller")
        if self.background_radius is not None and not self.background_radius < self.side / 2:
            raise ValueError(f"--background-radius must be less than half of the particle's side, {self.side / 2:g} px")
        return self

    @property
    def side(self) -> int:
        """Pixels along a side of a particle in the stack."""
        return self.rescale or self.box

    @property
    def changes_pixels(self) -> bool:
        """Whether particles are more than slices of the micrograph."""
        return self.normalize or self.invert or self.dust is not None or self.rescale is not None


make_extract_settings = ExtractSettings.model_validate
"""Build settings from plain values; raises SettingsError, one sentence that names each wrong setting."""
