"""What a session file holds: every field is checked, with its type, before anything is made of it."""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from napari_gempick.io.listing import MicrographFile
from napari_gempick.io.names import is_below
from napari_gempick.model.errors import GempickError, InputError
from napari_gempick.model.settings import TUNED, PickSettings, make_settings
from napari_gempick.widgets.state.state import BESIDE_THRESHOLDS

VERSION = 1


def _below(name: str) -> str:
    if not is_below(name):
        raise ValueError(f"{name!r} leads out of the folder")
    return name


_Name = Annotated[str, AfterValidator(_below)]
_Score = Annotated[FiniteFloat, Field(ge=-1, le=1)]
_Length = Annotated[FiniteFloat, Field(ge=0)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Plain(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _MicrographEntry(_Plain):
    path: str
    relative: _Name
    whole_name: bool
    pixel_size: Annotated[FiniteFloat, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _results_stay_below(self) -> _MicrographEntry:
        _below(self.stem)
        return self

    @property
    def stem(self) -> str:
        return MicrographFile(Path(self.path), PurePosixPath(self.relative), self.whole_name).output_stem


class _ViewEntry(_Plain):
    name: _Name
    files: tuple[str, ...]
    mask: str
    colour: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


def _typed(name: str) -> Any:
    """Return the type of a setting with its limits, as JSON has it."""
    field = PickSettings.model_fields[name]
    return list[str] if field.annotation == tuple[str, ...] else Annotated[field.annotation, field]


class _Thresholds(_Plain):
    model_config = ConfigDict(allow_inf_nan=False)

    thresholds: dict[str, _Score]

    @model_validator(mode="after")
    def _limits_can_be_read(self) -> _Thresholds:
        _settings({name: getattr(self, name) for name in TUNED})
        return self


_others: Any = {name: (_typed(name), None) for name in BESIDE_THRESHOLDS}
_Tune: Any = create_model("_Tune", __base__=_Thresholds, **_others)


class _Added(_Plain):
    x: FiniteFloat
    y: FiniteFloat
    view: str
    score: float
    psi: float
    section: Annotated[int, Field(ge=-1, lt=2**31)]


class _Edits(_Plain):
    rejected: tuple[tuple[FiniteFloat, FiniteFloat], ...]
    added: tuple[_Added, ...]


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Check the type of each setting; what contradicts another one is reported when it is used."""
    for name, value in values.items():
        if name not in PickSettings.model_fields:
            raise ValueError(f"{name!r} is not a setting")
        try:
            _setting(name).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{name}: {_lower(error.errors()[0]['msg'])}") from None
    return values


@cache
def _setting(name: str) -> TypeAdapter[Any]:
    return TypeAdapter(_typed(name), config=ConfigDict(strict=True, allow_inf_nan=False))


def _with_all(thresholds: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    if "" not in thresholds:
        raise ValueError("the thresholds of all micrographs are missing")
    return thresholds


class _State(_Plain):
    files: tuple[_MicrographEntry, ...]
    views: tuple[_ViewEntry, ...]
    values: Annotated[dict[str, Any], AfterValidator(_known)]
    tune: _Tune
    overrides: dict[str, _Tune]
    edits: dict[str, _Edits]
    rejected: tuple[str, ...] = ()
    teach: bool = False
    aside: dict[str, Annotated[dict[str, dict[str, _Score]], AfterValidator(_with_all)]] = {}

    @model_validator(mode="after")
    def _names_differ(self) -> _State:
        for what, names in (("views", [v.name for v in self.views]), ("micrographs", [f.stem for f in self.files])):
            if len(set(names)) < len(names):
                raise ValueError(f"two {what} have the same name")
        return self


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")
    error: str | None = None
    best_score: FiniteFloat | None = None


def _row(row: dict[str, Any]) -> dict[str, Any]:
    _Row.model_validate(row)
    return row


class _Bank(_Plain):
    view_names: tuple[str, ...]
    sections_per_view: tuple[_Count, ...]
    angle_step: float
    angle_range: float
    folds: tuple[Annotated[int, Field(ge=1, le=360)], ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> _Bank:
        _settings({"angle_step": self.angle_step, "angle_range": self.angle_range})
        if len(self.view_names) != len(self.sections_per_view) or len(self.folds) not in (0, len(self.view_names)):
            raise ValueError("every view needs its number of sections")
        return self


class _Result(_Plain):
    row: Annotated[dict[str, Any], AfterValidator(_row)]
    bank: _Bank | None
    diameter: _Length
    digest: str
    maps: bool


class _Session(_Plain):
    session: Literal[1]
    current: str | None
    state: _State
    results: dict[_Name, _Result]


def _settings(values: dict[str, Any]) -> None:
    try:
        make_settings(values)
    except GempickError as error:
        raise ValueError(error.sentence.removeprefix("Wrong settings: --").rstrip(".")) from None


def check_session(text: bytes, path: Path) -> dict[str, Any]:
    """Return the content of a session file, with every field of the right type.

    Raises
    ------
    InputError
        A field is missing, of another type or unknown, or a name leads out of the folder; the sentence names it.
    """
    try:
        return _Session.model_validate_json(text).model_dump()
    except ValidationError as error:
        raise InputError(f"{path} cannot be read: {_first(error)}; correct or remove it.", path) from error


def check_row(row: dict[str, Any], path: Path) -> None:
    """Check what the window reads of a line of run.json; raises InputError as `check_session`."""
    try:
        _Row.model_validate(row)
    except ValidationError as error:
        raise InputError(
            f"{path} cannot be read: micrograph {row.get('name')}, {_first(error)}; correct or remove it.", path
        ) from error


def _first(error: ValidationError) -> str:
    """Return the first problem with the field that has it."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    what = _lower(problem["msg"].removeprefix("Value error, "))
    return f"{where}: {what}" if where else what


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
