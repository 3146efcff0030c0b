"""Every parameter of a simulation, declared once: the command line and simulation.json read this."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import field_validator, model_validator

from napari_gempick.model.declaration import Settings, declare

VIEWS = ("side", "top")
"""Views that have a template and a mask; the truth may call a particle `ignore` as well."""

SHORTEST_SIDE, LONGEST_SIDE = 64, 16384
"""Pixels; the simulation holds several float32 arrays of the micrograph's size."""


class SimulateSettings(Settings):
    """Settings of a simulation. Lengths are in Å, angles in degrees, the defocus in µm, the voltage in kV."""

    count: int = declare(1, "Number of micrographs.", ge=1, le=9999)
    size: str = declare(
        "1024", "Size of a micrograph: columns x rows, or one number for a square.", unit="px", metavar="N|NXxNY"
    )
    pixel_size: float = declare(4.4, "Pixel size of the micrographs.", unit="Å", ge=0.5, le=10)
    seed: int = declare(0, "Seed of the random numbers: equal settings and seed give equal files.", ge=0)
    particles: int = declare(30, "Particles on each micrograph, those of the view `ignore` included.", ge=0, le=10000)
    top_fraction: float = declare(0.3, "Share of top views; the others are side views.", ge=0, le=1)
    ignore_fraction: float = declare(
        0.05, "Share of particles that are tilted between both views; the truth lists them as `ignore`.", ge=0, le=1
    )
    wobble: float = declare(
        2.0, "Standard deviation of the out-of-plane tilt of side and top views.", unit="degrees", ge=0, le=10
    )
    min_distance: float = declare(345.0, "Smallest distance between particle centres.", unit="Å", ge=0)
    defocus: float = declare(2.0, "Mean underfocus.", unit="µm", gt=0, le=20)
    defocus_spread: float = declare(
        0.2, "The micrographs' defocus is uniform within this much of the mean.", unit="µm", ge=0, le=10
    )
    voltage: float = declare(300.0, "Acceleration voltage.", unit="kV", ge=60, le=1000)
    cs: float = declare(2.7, "Spherical aberration.", unit="mm", ge=0, le=10)
    amplitude_contrast: float = declare(0.1, "Amplitude contrast.", ge=0, le=1)
    b_factor: float = declare(300.0, "Envelope of the contrast transfer: exp(-B s²/4).", unit="Å²", ge=0, le=10000)
    snr: float = declare(
        0.5, "Variance of the side template under its mask over the variance of the noise.", gt=0, le=1e6
    )
    structural_noise: float = declare(
        0.6,
        "Share of the noise's variance that comes from the ice and passes the lens; the rest is the camera's.",
        ge=0,
        le=1,
    )
    ice_gradient: float = declare(
        250.0, "Change of the ice thickness across a micrograph, in a random direction.", unit="Å", ge=0, le=3000
    )
    contaminants: int = declare(6, "Ice crystals and broken particles on each micrograph.", ge=0, le=1000)
    carbon: bool = declare(
        True, "The edge of a carbon film on every second micrograph (the 1st, the 3rd, ...), or on none. Default: with."
    )
    hot_pixels: int = declare(0, "Hot pixels on each micrograph.", ge=0, le=10000)
    template_pixel_size: float | None = declare(
        None, "Pixel size of the templates and masks. Default: the micrographs'.", unit="Å", ge=0.5, le=20
    )
    map_pixel_size: float | None = declare(
        None, "Pixel size of the 3D map. Default: the templates', but at least 4 Å.", unit="Å", ge=0.5, le=20
    )
    dtype: Literal["float32", "float16", "int8"] = declare(
        "float32", "Pixel type of the micrographs. int8: 20 grey levels per standard deviation, clipped."
    )

    @field_validator("size", mode="before")
    @classmethod
    def _size_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @field_validator("size")
    @classmethod
    def _size_in_range(cls, value: str) -> str:
        if not re.fullmatch(r"\d+(x\d+)?", value):
            raise ValueError(f"{value!r} is not a size; write 1024 or 1240x1200 (columns x rows)")
        if not all(SHORTEST_SIDE <= int(side) <= LONGEST_SIDE for side in value.split("x")):
            raise ValueError(f"{value}: sides must lie between {SHORTEST_SIDE} and {LONGEST_SIDE} pixels")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> SimulateSettings:
        if self.defocus_spread >= self.defocus:
            raise ValueError(
                f"defocus-spread {self.defocus_spread:g} µm must be below the defocus of {self.defocus:g} µm"
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a micrograph."""
        sides = [int(side) for side in self.size.split("x")]
        return sides[-1], sides[0]

    @property
    def template_spacing(self) -> float:
        """Å per pixel of the templates and masks."""
        return self.template_pixel_size or self.pixel_size

    @property
    def map_spacing(self) -> float:
        """Å per voxel of the map."""
        return self.map_pixel_size or max(4.0, self.template_spacing)

    def has_carbon(self, index: int) -> bool:
        """Return whether micrograph `index` (from 0) shows the edge of a carbon film."""
        return self.carbon and index % 2 == 0

    def box(self, spacing: float) -> int:
        """Return the even side in pixels of `spacing` Å of a box that holds a particle at any angle and its fringes."""
        return 2 * math.ceil(280.0 / spacing)


make_simulate_settings = SimulateSettings.model_validate
"""Build settings from plain values; raises SettingsError, one sentence that names each wrong setting."""
