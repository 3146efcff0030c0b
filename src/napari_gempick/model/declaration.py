"""What a parameter declares about itself, once: the command line, the window, job files and the pages read it here."""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from napari_gempick.model.errors import SettingsError
from napari_gempick.model.values import AUTO, as_texts

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 99_999.0
"""The largest number that an editor takes where the declaration has no limit."""

Role = Literal["template", "search", "candidates", "choice", "tuned", "format", "files", "run"]
"""What a setting decides: the rotated templates and masks; what else the scores come from; which candidates are kept;
which of them are picks; the same, as a number beside the thresholds; how picks are written; which
other files are written; or nothing of the results (where the work is done)."""
Kind = Literal["value", "per view", "path", "bounds", "lines"]
"""How a value is written: as its type says; VALUE or NAME=VALUE, several of them; a path; LOWEST,HIGHEST; lines."""


@dataclass(frozen=True)
class Paths:
    """What a path may be: `files` are name patterns, `word` stands for a path and means `meaning`."""

    nothing: str
    file: str
    folder: str
    files: str
    word: str = ""
    meaning: str = ""


CTF_PATHS = Paths(
    "none: no CTF",
    "STAR file with the defocus of each micrograph",
    "Folder of CTFFIND's texts",
    "STAR files and CTFFIND's texts (*.star *.txt);;All files (*)",
)
EXCLUDE_PATHS = Paths(
    "nothing is left out",
    "Mask for every micrograph",
    "Folder with a mask for each micrograph",
    "Images (*.mrc *.mrc.gz *.tif *.tiff);;All files (*)",
    AUTO,
    "Ice, dirt, carbon and padded borders, found automatically",
)

EDITED_PATHS = Paths("only those of the results", "A mask", "Folder of edited masks", "Masks (*.mrc.gz)")
"""What the window calls the files and folders that settings may name."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A parameter as it is declared.

    `group` is its heading in the window, None where it has no editor there. `low` and `high` are the limits of a
    number; with `open`, `low` itself is excluded. `step` and `digits` are those of an editor. `empty` says in a word
    what an empty value means, where a value can be empty. `type` is without None, which `optional` allows.
    """

    name: str
    help: str
    label: str
    group: str | None = "Further settings"
    role: Role = "search"
    kind: Kind = "value"
    default: Any
    required: bool
    type: Any
    optional: bool
    unit: str | None = None
    metavar: str | None = None
    low: float
    high: float
    open: bool
    step: float
    digits: int
    empty: str
    paths: Paths | None = None

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def suffix(self) -> str:
        """The unit as it follows a number."""
        return {None: "", "degrees": "°"}.get(self.unit, f" {self.unit}")

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values that there are, or none where any is allowed."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def many(self) -> bool:
        """Whether the value is a tuple."""
        return get_origin(self.type) is tuple


def declare(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    **declared: Any,
) -> Any:
    """Declare a parameter: default, help, limits and fields of `Declared`; `least` and `most` limit only an editor."""
    declared = {"unit": None, "metavar": None, **declared}
    return Field(default, description=help, json_schema_extra=declared, ge=ge, gt=gt, le=le, lt=lt)


@functools.cache
def declarations(model: type[BaseModel]) -> Mapping[str, Declared]:
    """Return what the parameters of a model declare, by name and in their order."""
    return {name: _declared(name, info) for name, info in model.model_fields.items()}


def _declared(name: str, info: Any) -> Declared:
    given = dict(info.json_schema_extra)
    low, high = given.pop("least", 0.0), given.pop("most", MOST)
    for rule in info.metadata:
        low = getattr(rule, "ge", getattr(rule, "gt", low))
        high = getattr(rule, "le", getattr(rule, "lt", high))
    type_, optional = _without_none(info.annotation)
    required = info.is_required()
    others = {
        "label": name.replace("_", " ").capitalize(),
        "step": 0.05 if high <= 1 else 1.0,
        "digits": 3 if high <= 1 else 1,
        "empty": "auto" if optional or required else "",
    }
    return Declared(
        name=name,
        help=info.description,
        default=None if required else info.default,
        required=required,
        type=type_,
        optional=optional,
        low=float(low),
        high=float(high),
        open=any(hasattr(rule, "gt") for rule in info.metadata),
        **{**others, **given},
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """Return a type without None, and whether it had it."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return parts[0], len(parts) < len(get_args(annotation))
    return annotation, False


def names_with(model: type[BaseModel], **wanted: Any) -> tuple[str, ...]:
    """Return the names of the parameters of which `Declared` has a value, or one of several, in each named field."""
    return tuple(
        name
        for name, one in declarations(model).items()
        if all(
            getattr(one, key) in value if isinstance(value, tuple) else getattr(one, key) == value
            for key, value in wanted.items()
        )
    )


def groups(model: type[BaseModel]) -> dict[str, tuple[str, ...]]:
    """Return the names of the parameters under each heading of the window, in the order of the declarations."""
    headings = dict.fromkeys(one.group for one in declarations(model).values() if one.group is not None)
    return {heading: names_with(model, group=heading) for heading in headings}


_PROBLEMS = {
    "float": "{input!r} is not a number",
    "int": "{input!r} is not a whole number",
    "bool": "{input!r} is neither true nor false",
    "string": "{input!r} is not a text",
    "tuple": "{input!r} is not a list of texts",
    "finite_number": "{input!r} is not a finite number",
    "greater_than": "{input} is too small; give more than {gt:g}",
    "greater_than_equal": "{input} is too small; give at least {ge:g}",
    "less_than": "{input} is too large; give less than {lt:g}",
    "less_than_equal": "{input} is too large; give at most {le:g}",
    "literal_error": "{input!r} is not a choice; give {expected}",
    "extra_forbidden": "this setting does not exist",
}
"""What is wrong with a value, by the beginning of pydantic's name for it; the longest that fits."""


def _wrong_settings(error: ValidationError) -> SettingsError:
    """Return one sentence that names each wrong setting."""
    problems = []
    for item in error.errors():
        name = "".join(f"--{part}: ".replace("_", "-") for part in item["loc"][:1])
        kind = max((kind for kind in _PROBLEMS if item["type"].startswith(kind)), key=len, default="")
        known = {"input": item["input"], **item.get("ctx", {})}
        text = _PROBLEMS[kind].format(**known) if kind else item["msg"].removeprefix("Value error, ")
        problems.append(name + text)
    return SettingsError("Wrong settings: " + "; ".join(problems) + ".")


def _with_fields(model: type[BaseModel]) -> str:
    """Return a model's docstring with all its settings: names, defaults, units and texts."""
    rows = []
    for name, field in model.model_fields.items():
        unit = declarations(model)[name].unit
        default = "" if field.default in (None, ()) else f", default {field.default!r}"
        rows.append(f"{name}{f' [{unit}]' if unit else ''}{default}\n    {field.description}")
    return f"{model.__doc__}\n\nAttributes\n----------\n" + "\n".join(rows) + "\n"


class Settings(BaseModel):
    """Base of settings: fixed once made, from plain values or text, with one sentence for all that is wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        cls.__doc__ = _with_fields(cls)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _wrong_settings(error) from error

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Build settings from plain values.

        Raises
        ------
        SettingsError
            One sentence that names each wrong setting.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise _wrong_settings(error) from error

    @field_validator("*", mode="before")
    @classmethod
    def _as_text(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name and declarations(cls)[info.field_name].many:
            return as_texts(value)
        return str(value) if isinstance(value, PurePath) else value
