"""What must be right in a session file."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeFloat, PositiveInt

from napari_gempick.io.record_types import Below, FilePath, Writable


def _finite_or_nan(value: float) -> float:
    if math.isinf(value):
        raise ValueError("the value is infinite")
    return value


_FiniteOrNan = Annotated[float, AfterValidator(_finite_or_nan)]
_Position = tuple[FiniteFloat, FiniteFloat]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _File(_Record):
    path: FilePath
    relative: Below
    whole_name: bool
    pixel_size: FiniteFloat | None = None


class _View(_Record):
    name: Writable
    files: list[Writable]
    mask: str
    colour: str = Field(pattern="^#[0-9a-fA-F]{6}$")


class _Tune(_Record):
    thresholds: dict[str, FiniteFloat] = {}
    max_threshold: FiniteFloat | None = None
    min_distance: FiniteFloat | None = None
    border: FiniteFloat | None = None
    max_picks: int | None = None
    local_mean: str | None = None
    local_sigma: str | None = None
    power: str | None = None
    fdr: FiniteFloat | None = None


class _Added(_Record):
    x: FiniteFloat
    y: FiniteFloat
    view: str = ""
    score: _FiniteOrNan = 0.0
    psi: _FiniteOrNan = 0.0
    section: int = -1


class _Edits(_Record):
    rejected: list[_Position]
    added: list[_Added]


class _State(_Record):
    files: list[_File]
    views: list[_View]
    values: dict[str, Any]
    tune: _Tune
    overrides: dict[str, _Tune]
    edits: dict[str, _Edits]


class _Bank(_Record):
    model_config = ConfigDict(extra="allow")

    view_names: list[Writable]
    sections_per_view: list[PositiveInt]
    angle_step: Annotated[float, Field(ge=0, le=360)]
    angle_range: Annotated[float, Field(ge=0, le=360)]


class _Result(_Record):
    row: dict[str, Any]
    bank: _Bank | None
    diameter: NonNegativeFloat
    digest: str
    maps: bool


class SessionRecord(BaseModel):
    """session.json."""

    current: str | None
    state: _State
    results: dict[str, _Result]
