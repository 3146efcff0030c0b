"""Every parameter of a picking run, declared once: the command line, the window, job files and JSON read this."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from napari_gempick.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_Model = TypeVar("_Model", bound=BaseModel)

AUTO = "auto"
MOST_THREADS = 1024
"""More than any computer has use for; a slip of the pen would take all its memory."""
LEAST_STEP = 0.01
"""Degrees; a finer step than this is a slip of the pen, and its 36,000 rotations would fill the memory."""


def declare(default: Any, help: str, *, unit: str | None = None, metavar: str | None = None, **limits: Any) -> Any:
    """Declare one parameter: default, help, unit, how its value is written, limits."""
    return Field(default, description=help, json_schema_extra={"unit": unit, "metavar": metavar}, **limits)


_setting = declare


def split_name(text: str) -> tuple[str | None, str]:
    """Split `NAME=VALUE`; the name is None where there is none (a path may contain `=` after a separator)."""
    name, separator, value = text.partition("=")
    if separator and name and not any(mark in name for mark in "/\\"):
        return name, value
    return None, text


def _pair(text: str) -> tuple[float, float]:
    """Read LOWEST,HIGHEST, of which either may be missing."""
    lowest, highest = text.split(",")
    return float(lowest or "-inf"), float(highest or "inf")


class PickSettings(BaseModel):
    """Settings of a picking run. Lengths are in Å, angles in degrees, scores in [-1, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    templates: tuple[str, ...] = _setting(
        (),
        "Template image or stack (MRC, MRCS, TIFF). NAME is the view: thresholds, colours and maps go by it. "
        "The sections of a stack are the templates of one view; FILE[1,3,6-8] takes some of them, FILE[^2,5] leaves "
        "some out, 3@FILE is the third. RELION's lists (class_averages.star, run_it025_model.star) are read too.",
        metavar="[NAME=]FILE",
    )
    mask: tuple[str, ...] = _setting(
        ("auto",),
        "Mask of all views, or of the view NAME: a file (weights 0 to 1, in the template's pixels), a shape in Å "
        "(A along x, B along y at psi 0), or auto: the circle of --diameter, else the outline of the view's templates.",
        metavar="[NAME=]FILE|circle:D|ellipse:AxB|rectangle:AxB|auto",
    )
    diameter: float | None = _setting(
        None, "The particle's diameter: sets the defaults of mask, minimum distance, border and box.", unit="Å", gt=0
    )
    pixel_size: float | None = _setting(
        None, "Pixel size of the micrographs. Default: the file headers.", unit="Å", gt=0
    )
    template_pixel_size: float | None = _setting(
        None, "Pixel size of the templates and masks. Default: the file headers.", unit="Å", gt=0
    )
    angle_step: float = _setting(
        4.0, "Step of the in-plane angle psi; 0: no rotation, every section is used as it is.", unit="degrees", ge=0
    )
    angle_range: float = _setting(
        360.0, "All multiples of the step below this are searched.", unit="degrees", gt=0, le=360
    )
    in_plane_symmetry: tuple[str, ...] = _setting(
        (),
        "n-fold in-plane symmetry of all views, or of the view NAME: only angles below 360 / n are searched. "
        "1: none (the default).",
        metavar="N|NAME=N",
    )
    contrast: Literal["same", "opposite"] = _setting(
        "same",
        "same: templates look like the micrograph's particles (averages cut from micrographs); "
        "opposite: templates are protein-bright and the particles are dark.",
    )
    lowpass: float | None = _setting(
        None, "Low-pass of micrographs and templates: full up to 0.8 / value, zero from 1 / value on.", unit="Å", gt=0
    )
    highpass: float | None = _setting(
        None, "High-pass of micrographs and templates: half amplitude at 1 / value.", unit="Å", gt=0
    )
    averaging: int = _setting(
        0,
        "Averaging filter of micrographs and templates: the mean over so many pixels of the micrograph along x and y; "
        "4 is the published filter for KLH. Off: 0.",
        unit="px",
        ge=0,
        le=64,
    )
    whiten: bool = _setting(
        False,
        "Whiten micrographs and templates: divide by the square root of the micrograph's own power spectrum, averaged "
        "over 64 rings up to the Nyquist frequency. Default: off.",
    )
    defects: Literal["replace", "keep"] = _setting(
        "replace",
        "Detector defects (hot and dead pixels, bad rows and columns, blobs, constant borders): put noise like their "
        "surroundings in their place, or keep them as far as they are below 1000 standard deviations.",
    )
    hot_pixels: float | None = _setting(
        None,
        "Replace pixels that differ from the median of their 5 x 5 neighbours by more than so many robust standard "
        "deviations of that difference, by that median. Default: off.",
        gt=0,
    )
    gradient: Literal["off", "plane", "quadratic"] = _setting(
        "off", "Subtract the plane or the paraboloid that fits the micrograph best."
    )
    ctf: str | None = _setting(
        None,
        "STAR file with the defocus of each micrograph (RELION), or CTFFIND's text for one micrograph, or a folder of "
        "such texts named like the micrographs: protein-bright templates are multiplied by the CTF after rotation. "
        "The CTF gives the sign, so --contrast is not given with it.",
        metavar="STAR|TEXT|FOLDER",
    )
    ctf_step: float = _setting(
        500.0,
        "Defocus values are rounded to multiples of this, so that micrographs share their templates; 0: not rounded.",
        unit="Å",
        ge=0,
    )
    phase_flipped: Literal["no", "dark", "bright"] = _setting(
        "no",
        "Phases of the micrographs were flipped, and particles are dark or bright there: with --ctf, templates are "
        "multiplied by the modulus of the CTF.",
    )
    grid: str = _setting(
        "auto",
        "Searched grid: auto (the coarsest that the low-pass allows), full (the file's pixels), or the ratio of map "
        "pixel to file pixel, such as 2 or 9/4.",
        metavar="auto|full|RATIO",
    )
    mask_edge: float | None = _setting(
        None,
        "Width of the soft edge of shape masks and automatic ones, centred on the outline. Default: two pixels of the "
        "coarsest grid that the low-pass allows, 0 (binary) without one; never less than two map pixels on a coarser "
        "grid, nor, for automatic masks, than three pixels of the template.",
        unit="Å",
        ge=0,
    )
    mask_rotation: Literal["binary", "soft"] = _setting(
        "binary",
        "Binary mask files after rotation: cut at 0.5 again, or kept soft as interpolated. "
        "Masks on a coarser grid are always soft.",
    )
    threshold: tuple[str, ...] = _setting(
        ("0.4",),
        "Lowest score of a pick, for all views or for the view NAME; auto: chosen for each micrograph alone, by the "
        "rate of false picks that the inverted contrast lets expect.",
        metavar="X|auto|NAME=X",
    )
    fdr: float | None = _setting(
        None,
        "Automatic thresholds let this share of the picks be false, as estimated. "
        "Default: the best trade of false picks against missed particles.",
        gt=0,
        lt=1,
    )
    max_threshold: float | None = _setting(
        None, "Picks above this score are dropped; their neighbours stay suppressed.", ge=-1, le=1
    )
    min_distance: float | None = _setting(
        None, "Smallest distance between picks. Default: half the particle's diameter.", unit="Å", ge=0
    )
    local_mean: str | None = _setting(
        None,
        "Picks must have a local mean within these limits, in standard deviations of the micrograph as it is searched, "
        "about its mean. Ice and dirt are darker than particles. One of the two may be left out.",
        metavar="LOWEST,HIGHEST",
    )
    local_sigma: str | None = _setting(
        None,
        "Picks must have a local standard deviation within these limits, in those of the micrograph.",
        metavar="LOWEST,HIGHEST",
    )
    power: str | None = _setting(
        None,
        "Picks must have a power, (score x local standard deviation) squared, within these limits.",
        metavar="LOWEST,HIGHEST",
    )
    border: float | None = _setting(
        None,
        "Picks closer than this to the edge of the micrograph are dropped. Default: half of --diameter, else 0.",
        unit="Å",
        ge=0,
    )
    max_picks: int | None = _setting(None, "At most this many picks per micrograph, the best ones.", ge=0)
    exclude: str | None = _setting(
        None,
        "Mask of the micrograph's size (or a folder of masks named like the micrographs): no picks where it is not 0. "
        "auto: padded borders, ice, dirt and carbon are found, and the mask is kept in the output folder.",
        metavar="FILE|FOLDER|auto",
    )
    bad_pixels: Literal["error", "replace"] = _setting(
        "error", "NaN or infinite pixels: refuse the micrograph, or replace them by its median."
    )
    devices: str = _setting(
        "auto",
        "Devices that share the work. auto: all GPUs, else the CPU.",
        metavar="auto|cpu|cpu,cpu|cuda:0,cuda:1|...",
    )
    threads: int = _setting(
        0, "Total number of CPU threads. 0: all cores available to this process.", ge=0, le=MOST_THREADS
    )
    save_maps: bool = _setting(False, "Save score and index maps.")
    per_view_maps: bool = _setting(False, "Save a pair of maps for each named view as well.")
    decoys: bool = _setting(
        True, "Keep the peaks of the inverted contrast too: the rate of false picks is estimated from them."
    )
    format: tuple[str, ...] = _setting(
        ("star",), "Coordinate formats to write, comma-separated.", metavar="star,box,csv"
    )
    candidate_floor: float = _setting(
        0.1, "Candidates are kept down to this score, or to the threshold where that is lower.", ge=-1, le=1
    )

    @field_validator("lowpass", "highpass", mode="before")
    @classmethod
    def _zero_is_off(cls, value: Any) -> Any:
        return None if value in (0, "0") else value

    @field_validator("threshold")
    @classmethod
    def _threshold_values(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            value = split_name(text)[1]
            if value == AUTO:
                continue
            try:
                number = float(value)
            except ValueError:
                raise ValueError(f"{text!r} is not a number; write 0.4, NAME=0.4 or auto") from None
            if not -1 <= number <= 1:
                raise ValueError(f"{text!r} must lie between -1 and 1")
        return texts

    @field_validator("in_plane_symmetry")
    @classmethod
    def _whole_folds(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            value = split_name(text)[1]
            if not value.isdecimal() or not 1 <= int(value) <= 360:
                raise ValueError(f"{text!r}: write a whole number from 1 to 360, or NAME=5")
        return texts

    @field_validator("local_mean", "local_sigma", "power")
    @classmethod
    def _limits(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                lowest, highest = _pair(text)
            except ValueError:
                raise ValueError(f"{text!r}: write LOWEST,HIGHEST, such as -1.5,1 or ,2") from None
            if lowest > highest:
                raise ValueError(f"{text!r}: the lowest value comes first")
        return text

    @field_validator("grid")
    @classmethod
    def _grid_value(cls, text: str) -> str:
        if text.strip().lower() not in ("auto", "full"):
            try:
                ratio = Fraction(text)
            except (ValueError, ZeroDivisionError):
                raise ValueError(f"{text!r}: write auto, full or a ratio such as 2 or 9/4") from None
            if ratio < 1:
                raise ValueError(f"{text!r}: the ratio must be at least 1")
        return text

    @field_validator("angle_step")
    @classmethod
    def _step_value(cls, step: float) -> float:
        if 0 < step < LEAST_STEP:
            raise ValueError(f"{step:g} degrees is too small; give {LEAST_STEP:g} or more, or 0 for no rotation")
        return step

    @model_validator(mode="before")
    @classmethod
    def _rate_is_automatic(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("fdr") is not None and not values.get("threshold"):
            return {**values, "threshold": (AUTO,)}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> PickSettings:
        automatic = any(split_name(text)[1] == AUTO for text in self.threshold)
        if self.fdr is not None and not automatic:
            raise ValueError("fdr chooses the threshold itself; leave out threshold, or say auto for a view")
        if automatic and not self.decoys:
            raise ValueError("automatic thresholds need the decoys; leave out no-decoys")
        if self.lowpass and self.highpass and self.highpass <= self.lowpass:
            raise ValueError(f"highpass {self.highpass:g} Å must be larger than lowpass {self.lowpass:g} Å")
        if self.ctf is not None and self.contrast != "same":
            raise ValueError("the CTF gives the sign of the templates; leave out --contrast, or --ctf")
        return self

    def threshold_of(self, view_names: tuple[str, ...]) -> list[float | None]:
        """Return the lowest score of each named view, in their order; None where it is to be chosen.

        Raises
        ------
        SettingsError
            A threshold is for a name that is no view.
        """
        values: dict[str | None, float | None] = {None: 0.4}
        for text in self.threshold:
            name, value = split_name(text)
            if name is not None and name not in view_names:
                known = ", ".join(view_names)
                raise SettingsError(f"--threshold {text}: there is no view {name!r}; the views are {known}.")
            values[name] = None if value == AUTO else float(value)
        return [values.get(name, values[None]) for name in view_names]

    def local_limits(self) -> tuple[tuple[float, float], ...]:
        """Return the limits of local mean, local standard deviation and power; empty where none is set."""
        texts = (self.local_mean, self.local_sigma, self.power)
        return () if texts == (None, None, None) else tuple(_pair(text or ",") for text in texts)

    def folds_of(self, view_names: tuple[str, ...]) -> tuple[int, ...]:
        """Return the in-plane symmetry of each named view, in their order.

        Raises
        ------
        SettingsError
            It is given for a name that is no view.
        """
        values: dict[str | None, int] = {None: 1}
        for text in self.in_plane_symmetry:
            name, value = split_name(text)
            if name is not None and name not in view_names:
                known = ", ".join(view_names)
                raise SettingsError(f"--in-plane-symmetry {text}: there is no view {name!r}; the views are {known}.")
            values[name] = int(value)
        return tuple(values.get(name, values[None]) for name in view_names)


def make_settings(values: dict[str, Any]) -> PickSettings:
    """Build settings from plain values.

    Raises
    ------
    SettingsError
        One sentence that names each wrong setting.
    """
    settings = validated(PickSettings, values)
    if settings.phase_flipped != "no" and settings.ctf is None:  # arrays come with a CTF of their own
        raise SettingsError("Wrong settings: --phase-flipped needs --ctf.")
    return settings


def validated(model: type[_Model], values: Mapping[str, Any]) -> _Model:
    """Build settings of any model from plain values; errors as `make_settings`."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            name = "".join(f"--{part}: ".replace("_", "-") for part in item["loc"][:1])
            problems.append(name + item["msg"].removeprefix("Value error, "))
        raise SettingsError("Wrong settings: " + "; ".join(problems) + ".") from error
