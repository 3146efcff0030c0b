"""Every parameter of a picking run, declared once: the command line, the window, job files and JSON read this."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationInfo, field_validator, model_validator

from napari_gempick.model.declaration import CTF_PATHS, EDITED_PATHS, EXCLUDE_PATHS, Settings, declare, names_with
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.values import AUTO, LEARNED, LOCAL, PerView, read_bounds, read_fold, read_grid, read_threshold

if TYPE_CHECKING:
    from fractions import Fraction

MOST_THREADS = 1024
"""More than any computer has use for; a slip of the pen would take all its memory."""
LEAST_STEP = 0.01
"""Degrees; a finer step than this is a slip of the pen, and its 36,000 rotations would fill the memory."""

CTF_GIVES_SIGN = "the CTF gives the sign of the templates; omit --contrast, or --ctf"

_view = functools.partial(declare, group="Views", role="template")
_template = functools.partial(declare, group="Templates", role="template")
_searched = functools.partial(declare, group="Search", role="template")
_filter = functools.partial(declare, group="Filters of micrographs and templates", role="template")
_ctf = functools.partial(declare, group="CTF of each micrograph", role="template")
_grid = functools.partial(declare, group="Angles and grid", role="template")
_mask = functools.partial(declare, group="Masks", role="template")
_limit = functools.partial(
    declare, None, group="Limits", role="tuned", metavar="LOWEST,HIGHEST", kind="bounds", most=999, step=0.1, digits=2
)
_choice = functools.partial(declare, role="choice")
_tune = functools.partial(declare, group="Tune", role="tuned")
_LENGTH: dict[str, Any] = {"unit": "Å", "gt": 0}
_PIXEL: dict[str, Any] = {**_LENGTH, "digits": 3, "empty": "from file"}
_DIAMETER: dict[str, Any] = {**_LENGTH, "step": 10, "empty": "from mask"}
_OFF: dict[str, Any] = {**_LENGTH, "empty": "off"}
_TURN: dict[str, Any] = {"unit": "degrees", "gt": 0, "le": 360}
_THREADS: dict[str, Any] = {"ge": 0, "le": MOST_THREADS}
_CHECK: dict[str, Any] = {"label": "Check files", "role": "run"}
_FLOOR: dict[str, Any] = {"label": "Candidate floor", "role": "candidates", "ge": -1, "le": 1}
_REACH: dict[str, Any] = {"unit": "Å", "ge": 0, "step": 10}
_run = functools.partial(declare, group="Run")


class PickSettings(Settings):
    """Settings of a picking run. Lengths are in Å, angles in degrees, scores in [-1, 1]."""

    templates: tuple[str, ...] = _view(
        (),
        "Template image or stack (MRC, MRCS, TIFF). NAME is the view, which has its own threshold, colour and maps. "
        "The sections of a stack are the templates of one view; FILE[1,3,6-8] takes some of them, FILE[^2,5] leaves "
        "some out, 3@FILE takes the third. RELION's lists (class_averages.star, run_it025_model.star) are read too.",
        metavar="[NAME=]FILE",
        kind="per view",
    )
    mask: tuple[str, ...] = _view(
        ("auto",),
        "Mask of all views, or of the view NAME: a file (weights 0 to 1, in the template's pixels), a shape in Å (A "
        "along x, B along y at psi 0), or auto: the circle of --diameter, or else the outline of the view's templates.",
        metavar="[NAME=]FILE|circle:D|ellipse:AxB|rectangle:AxB|auto",
        kind="per view",
    )
    diameter: float | None = _searched(
        None, "The particle's diameter: sets the defaults of mask, minimum distance, border and box.", **_DIAMETER
    )
    pixel_size: float | None = _template(
        None, "Pixel size of the micrographs. Default: the file headers.", group="Micrographs", **_PIXEL
    )
    template_pixel_size: float | None = _template(
        None, "Pixel size of the templates and masks. Default: the file headers.", label="Pixel size", **_PIXEL
    )
    angle_step: float | None = _searched(
        None,
        "Step of the in-plane angle psi; 0: no rotation, every section is used as it is. Default: auto, as fine as "
        "low-pass and diameter require, from 1 to 15.",
        unit="degrees",
        metavar="auto|STEP",
        ge=0,
        most=360,
    )
    angle_range: float = _grid(
        360.0, "Search psi from 0 up to, but not including, this angle, in steps of --angle-step.", **_TURN
    )
    in_plane_symmetry: tuple[str, ...] = _grid(
        (),
        "n-fold in-plane symmetry of all views, or of the view NAME: only angles below 360 / n are searched. "
        "1: none (the default).",
        metavar="N|NAME=N",
        label="Symmetry",
        kind="per view",
        empty="none",
    )
    contrast: Literal["same", "opposite"] = _template(
        "same",
        "same: templates have the contrast of the micrographs, as averages cut from them have. opposite: templates are "
        "protein-bright, as projections of a map and most class averages are, and particles are dark.",
    )
    lowpass: float | None = _searched(
        None,
        "Low-pass of micrographs and templates: full up to 0.8 / value, zero from 1 / value on.",
        label="Low-pass",
        **_OFF,
    )
    highpass: float | None = _searched(
        None, "High-pass of micrographs and templates: half amplitude at 1 / value.", label="High-pass", step=50, **_OFF
    )
    averaging: int = _filter(
        0,
        "Averaging filter of micrographs and templates: the mean over N x N micrograph pixels; "
        "4 is the published filter for KLH, 0 turns it off.",
        unit="px",
        ge=0,
        le=64,
        empty="off",
    )
    whiten: bool = _filter(
        False,
        "Whiten micrographs and templates: divide by the square root of the micrograph's own power spectrum, averaged "
        "over 64 rings up to the Nyquist frequency. Default: off.",
    )
    defects: Literal["replace", "keep"] = _filter(
        "replace",
        "Detector defects (hot and dead pixels, bad rows and columns, blobs, constant borders): replace them by noise "
        "like their surroundings, or keep those that are below 1000 standard deviations.",
    )
    hot_pixels: float | None = _filter(
        None,
        "Replace a pixel by the median of its 5 x 5 neighbours where it differs from that by more than this many "
        "robust standard deviations of such differences. Default: off.",
        gt=0,
        unit="σ",
        most=99,
        empty="off",
    )
    gradient: Literal["off", "plane", "quadratic"] = _filter(
        "off", "Subtract the plane or the paraboloid that fits the micrograph best."
    )
    ctf: str | None = _ctf(
        None,
        "STAR file with the defocus of each micrograph (RELION), or CTFFIND's text for one micrograph, or a folder of "
        "such texts named like the micrographs: protein-bright templates are multiplied by the CTF after rotation. "
        "The CTF gives the sign, so omit --contrast.",
        metavar="STAR|TEXT|FOLDER",
        label="CTF",
        kind="path",
        paths=CTF_PATHS,
    )
    ctf_step: float = _ctf(
        500.0,
        "Defocus values are rounded to multiples of this, so that micrographs share their templates; 0: not rounded.",
        unit="Å",
        ge=0,
        label="Defocus step",
    )
    phase_flipped: Literal["no", "dark", "bright"] = _ctf(
        "no",
        "Whether the phases of the micrographs were flipped, and whether particles are dark or bright there: with "
        "--ctf, templates are then multiplied by the modulus of the CTF.",
        label="Phases flipped",
    )
    grid: str = _grid(
        "auto",
        "Searched grid: auto (the coarsest that the low-pass allows), full (the file's pixels), or the ratio of map "
        "pixel to file pixel, such as 2 or 9/4.",
        metavar="auto|full|RATIO",
        empty="auto",
    )
    mask_edge: float | None = _mask(
        None,
        "Width of the soft edge of shapes and automatic masks, centred on the outline. Default: two pixels of the "
        "coarsest grid that the low-pass allows, 0 (binary) without one; never less than two map pixels on a coarser "
        "grid, nor, for automatic masks, than three pixels of the template.",
        unit="Å",
        ge=0,
        label="Soft edge",
    )
    mask_rotation: Literal["binary", "soft"] = _mask(
        "binary",
        "Binary mask files after rotation: thresholded at 0.5 again, or left soft, as interpolated. "
        "Masks on a coarser grid are always soft.",
        label="Mask files",
    )
    threshold: tuple[str, ...] = _choice(
        ("0.4",),
        "Lowest score of a pick, for all views or for the view NAME; auto: chosen for each micrograph from the "
        "estimated rate of false picks, with the evidence of the whole run where its own is weak.",
        metavar="X|auto|NAME=X",
        group="Thresholds",
        kind="per view",
        least=-1,
        most=1,
        step=0.01,
        digits=3,
    )
    score: Literal["ncc", "learned"] = _choice(
        "ncc",
        "The score that chooses picks: the NCC, or a learned score, which is taught by decoys (and labels: gempick "
        "retune --teach) and adds local mean, standard deviation, power and neighbours to the NCC, on the NCC's scale.",
        group="Thresholds",
    )
    fdr: float | None = _choice(
        None,
        "Choose automatic thresholds so that this share of the picks is estimated to be false. "
        "Default: the best trade-off between false picks and missed particles.",
        gt=0,
        lt=1,
        label="False picks",
        group="Limits",
        empty="by hand",
    )
    max_threshold: float | None = _tune(
        None,
        "Drop picks above this score; picks within --min-distance of a dropped pick are not brought back.",
        label="Upper limit",
        empty="off",
        ge=-1,
        le=1,
    )
    min_distance: float | None = _tune(
        None, "Smallest distance between picks. Default: half the particle's diameter.", label="Min. distance", **_REACH
    )
    local_mean: str | None = _limit(
        "Picks must have a local mean within these limits, in standard deviations of the micrograph as it is searched, "
        "about its mean. Ice and dirt are darker than particles. Either limit can be omitted, e.g. --local-mean ,1.5.",
        least=-99.9,
    )
    local_sigma: str | None = _limit(
        "Picks must have a local standard deviation within these limits, in units of the micrograph's."
    )
    power: str | None = _limit(
        "Picks must have a power, (score x local standard deviation) squared, within these limits."
    )
    border: float | None = _tune(
        None,
        "Drop picks closer than this to the edge of the micrograph. Default: half of --diameter, or else 0.",
        **_REACH,
    )
    max_picks: int | None = _tune(
        None, "Keep at most this many picks per micrograph, the best ones.", ge=0, label="Max. picks", empty="all"
    )
    exclude: str | None = _choice(
        None,
        "Mask of the micrograph's size (or a folder of masks named like the micrographs): no picks where it is not 0. "
        "auto: find padded borders, ice, dirt and carbon, and keep the mask in the output folder.",
        metavar="FILE|FOLDER|auto",
        label="No picks on",
        group="No picks on",
        kind="path",
        paths=EXCLUDE_PATHS,
    )
    exclude_edited: str | None = _choice(
        None,
        "Folder of masks that were edited by hand, named like the results: each replaces what --exclude gives for its "
        "micrograph. Those in the folder excluded_edited of the output folder are always used.",
        metavar="FOLDER",
        label="Edited masks",
        group="No picks on",
        kind="path",
        paths=EDITED_PATHS,
    )
    bad_pixels: Literal["error", "replace"] = _template(
        "error",
        "NaN or infinite pixels: refuse the micrograph, or replace them by its median.",
        label="NaN pixels",
        group="Run",
    )
    devices: str = _searched(
        "auto",
        "Devices that share the work. auto: all GPUs, else the CPU.",
        metavar="auto|cpu|cpu,cpu|cuda:0,cuda:1|...",
        role="run",
    )
    threads: int = _run(
        0, "Total number of CPU threads. 0: all cores available to this process.", role="run", empty="all", **_THREADS
    )
    search: Literal["auto", "full", "compressed"] = _run(
        "auto",
        "full: transform each rotated template. compressed: transform a basis of them, and score candidates exactly; "
        "maps have bounded errors elsewhere. auto: whichever is faster, but full where maps are saved.",
        label="Method",
    )
    save_maps: bool = declare(
        False, "Save score and index maps.", label="Keep score and index maps", group=None, role="files"
    )
    per_view_maps: bool = _run(
        False, "Save a pair of maps for each named view as well.", label="Maps per view", role="files"
    )
    decoys: bool = _run(
        True,
        "Keep the peaks of the inverted contrast too, from which the rate of false picks is estimated.",
        label="Estimate false picks",
    )
    format: tuple[str, ...] = declare(
        ("star",),
        "Coordinate formats to write, comma-separated.",
        metavar="star,box,csv",
        label="Formats",
        group="Export",
        role="format",
    )
    candidate_floor: float = _run(
        0.1, "Keep candidates down to this score, or to the threshold where that is lower.", **_FLOOR
    )
    check_coordinates: Literal["some", "all"] = _run(
        "some", "Micrographs whose files are checked. some: the first 20 of each size, then one in ten.", **_CHECK
    )

    @field_validator("lowpass", "highpass", "angle_step", mode="before")
    @classmethod
    def _word_for_none(cls, value: Any, info: ValidationInfo) -> Any:
        word = str(value).strip().lower()
        return None if (word == AUTO if info.field_name == "angle_step" else value in (0, "0")) else value

    @field_validator("threshold", "in_plane_symmetry")
    @classmethod
    def _per_view(cls, texts: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        PerView(texts, read_threshold if info.field_name == "threshold" else read_fold, None, "")
        return texts

    @field_validator(*LOCAL, "grid")
    @classmethod
    def _text(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            (read_grid if info.field_name == "grid" else read_bounds)(text)
        return text

    @field_validator("angle_step")
    @classmethod
    def _step_value(cls, step: float | None) -> float | None:
        if step is not None and 0 < step < LEAST_STEP:
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
        automatic = None in self.thresholds.all
        if self.fdr is not None and not automatic:
            raise ValueError("fdr chooses the threshold itself; omit threshold, or say auto for a view")
        if automatic and not self.decoys:
            raise ValueError("automatic thresholds need decoys: remove --no-decoys")
        if self.score == LEARNED and not self.decoys:
            raise ValueError("the learned score needs decoys: remove --no-decoys")
        if self.lowpass and self.highpass and self.highpass <= self.lowpass:
            raise ValueError(f"highpass {self.highpass:g} Å must be larger than lowpass {self.lowpass:g} Å")
        if self.per_view_maps and self.search == "compressed":
            raise ValueError("per-view-maps needs the full search; omit search, or say full")
        if self.ctf is not None and self.contrast != "same":
            raise ValueError(CTF_GIVES_SIGN)
        return self

    @property
    def thresholds(self) -> PerView[float | None]:
        """The lowest score of a pick; None where it is to be chosen."""
        return PerView(self.threshold, read_threshold, 0.4, "--threshold")

    @property
    def masks(self) -> PerView[str]:
        """The mask: a file, a shape or auto."""
        return PerView(self.mask, str, AUTO, "--mask")

    @property
    def folds(self) -> PerView[int]:
        """The in-plane symmetry: psi and psi + 360 / n look the same."""
        return PerView(self.in_plane_symmetry, read_fold, 1, "--in-plane-symmetry")

    @property
    def ratio(self) -> Fraction | None:
        """The ratio of map pixel to file pixel; None for the coarsest that the low-pass allows."""
        return read_grid(self.grid)

    def local_limits(self) -> tuple[tuple[float, float], ...]:
        """Return the limits of local mean, local standard deviation and power; empty where none is set."""
        texts = [getattr(self, name) for name in LOCAL]
        return () if not any(texts) else tuple(read_bounds(text or ",") for text in texts)


def make_settings(values: dict[str, Any]) -> PickSettings:
    """Build settings from plain values; SettingsError has one sentence that names each wrong setting."""
    settings = PickSettings.model_validate(values)
    if settings.phase_flipped != "no" and settings.ctf is None:  # arrays come with a CTF of their own
        raise SettingsError("Wrong settings: --phase-flipped needs --ctf.")
    return settings


TEMPLATE_SETTINGS = names_with(PickSettings, role="template")
"""Settings that decide which rotated templates and masks are searched."""
RETUNABLE = names_with(PickSettings, role=("choice", "tuned", "format"))
"""Settings that choose picks among candidates."""
TUNED = names_with(PickSettings, role="tuned")
"""Settings that choose picks among candidates, beside the thresholds."""
