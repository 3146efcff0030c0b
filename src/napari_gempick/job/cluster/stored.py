"""What must be right in the files of a job folder: job.json, records and logs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from napari_gempick.io.record_types import Below, FilePath, Writable


class _Stored(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class _Micrograph(_Stored):
    path: FilePath
    relative: Below
    whole_name: bool = False
    pixel_size: FiniteFloat | None = None


class _File(_Stored):
    bytes: NonNegativeInt
    blake2b: str


class JobRecord(_Stored):
    """job.json."""

    settings: dict[str, Any]
    cluster: dict[str, Any]
    root: Writable | None
    local_root: Writable | None = None
    micrographs: list[_Micrograph]
    files: dict[Below, _File]
    distribution: Literal["micrographs", "templates"]
    memory: NonNegativeFloat | None
    plan_of: dict[str, Any]
    script: dict[str, Any] | None = None
    notes: list[str] = []


class _Coverage(_Stored):
    search_images: NonNegativeInt
    pairs: NonNegativeInt
    least: NonNegativeInt
    most: NonNegativeInt


class MicrographRecord(_Stored):
    """A micrograph's record: the coverage comes first, then its line of run.json and its files."""

    coverage: _Coverage
    row: dict[str, Any] | None = None
    files: dict[Below, list[int | str]] = {}


class _Device(_Stored):
    name: str
    threads: PositiveInt | None = None
    model: str | None = None


class Event(_Stored):
    """A line of a rank's log, with what its kind needs."""

    event: str
    attempt: NonNegativeInt
    rank: NonNegativeInt
    time: float = Field(ge=0, lt=1e11)
    host: str | None = None
    ranks: PositiveInt | None = None
    devices: list[_Device] | None = None
    plan: dict[str, Any] | None = None
    name: str | None = None
    state: Literal["done", "failed", "kept"] | None = None
    images: int | None = Field(None, ge=0, lt=10**15)
    seconds: float | None = Field(None, ge=0, lt=1e11)

    @model_validator(mode="after")
    def _whole(self) -> Event:
        needed = {
            "start": (self.host, self.ranks, self.devices, self.plan),
            "micrograph": (self.name, self.state),
            "share": (self.images, self.seconds),
        }
        if None in needed.get(self.event, ()):
            raise ValueError(f"an event {self.event} without its values")
        return self
