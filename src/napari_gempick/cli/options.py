"""Options that several commands share: those of settings, and lengths in Å or px, with or without their unit."""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.model.declaration import declarations
from napari_gempick.model.errors import SettingsError
from napari_gempick.model.settings import CTF_GIVES_SIGN, PickSettings, make_settings
from napari_gempick.model.values import Length, Named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import BaseModel

    from napari_gempick.io.formats import Format
    from napari_gempick.model.declaration import Declared

    PixelSize = float | Callable[[], float] | None

_SHAPE = re.compile(r"(?:[^=:/\\]+=)?(?:circle|disc|ellipse|gaussian|rectangle|ring):.*", re.IGNORECASE)
_SIZE = re.compile(r"[\d.]+(?:px|[AÅ\u212b])", re.IGNORECASE)


class LengthType(click.ParamType):  # type: ignore[type-arg]
    """A length in one unit, or with its own: px or Å.

    Less than `least` is refused, and this itself if `open`. With `whole`, whole numbers are int.
    """

    name = "length"

    def __init__(self, unit: str, least: float = -math.inf, *, open: bool = False, whole: bool = False) -> None:
        self._unit, self._least, self._open, self._whole = unit, least, open, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Length:
        """See click.ParamType."""
        try:
            length = value if isinstance(value, Length) else Length.read(str(value), self._unit)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if length.value < self._least or (self._open and length.value == self._least):
            how = "more than" if self._open else "at least"
            self.fail(f"{value} is too small; give {how} {self._least:g}.", param, ctx)
        if not self._whole or length.unit != length.wanted:
            return length
        if not length.value.is_integer():
            self.fail(f"{value} is not a whole number.", param, ctx)
        return length._replace(value=int(length.value))


class _Converter:
    """Brings lengths to the unit in which they are used; a pixel size (Å) that must be looked up is looked up once."""

    def __init__(self, pixel_size: PixelSize) -> None:
        self._pixel_size = pixel_size

    def used(self, length: Length) -> float:
        if length.unit != length.wanted and callable(self._pixel_size):
            self._pixel_size = self._pixel_size()
        return length.used(None if callable(self._pixel_size) else self._pixel_size)

    def shape(self, text: str) -> str:
        if _SHAPE.fullmatch(text) is None:
            return text
        kind, sizes = text.rsplit(":", 1)
        return kind + ":" + _SIZE.sub(lambda size: f"{self.used(Length.read(size[0], 'Å')):.12g}", sizes)


def given(values: dict[str, Any], pixel_size: PixelSize = None, sides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the settings that were given on the command line, lengths and the sizes of masks in their own unit.

    The `sides` of boxes (px) that were given in Å become even numbers.

    Raises
    ------
    SettingsError
        A length has the other unit, and there is neither a `pixel_size` (Å, or what looks it up) nor a setting of this
        name.
    """
    converter = _Converter(values.get("pixel_size") or pixel_size)
    there = {name: value for name, value in values.items() if value is not None and value != ()}
    for name, value in there.items():
        if isinstance(value, Length):
            number = converter.used(value)
            there[name] = 2 * round(number / 2) if name in sides and value.unit != "px" else number
        elif name == "mask" and not isinstance(value, str):
            there[name] = tuple(converter.shape(text) for text in value)
    return there


def shapes_in_angstrom(texts: Sequence[str], pixel_size: float) -> list[str]:
    """Return shapes, such as disc:45px or ring:80Ax60A, with plain sizes in Å."""
    return [_Converter(pixel_size).shape(text) for text in texts]


def parse_shape(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read NY,NX."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not NY,NX, rows and columns, such as 4096,5760.", context, option)
    return int(found[1]), int(found[2])


def micrographs_pixel_size(micrographs: Sequence[str | Path], skip: Sequence[str | Path] = ()) -> Callable[[], float]:
    """Return what looks up the pixel size (Å) of micrographs, in their list or headers; it must be the same for all."""

    def look_up() -> float:
        from napari_gempick.evaluation.evaluate import common_pixel_size
        from napari_gempick.io.listing import find_micrographs

        files = find_micrographs(micrographs, skip=skip)
        return common_pixel_size((), files, "px", "--pixel-size, or lengths in Å")

    return look_up


def run_pixel_size(folder: Path) -> Callable[[], float]:
    """Return what looks up the pixel size (Å) of the micrographs of a run; it must be the same for all."""

    def look_up() -> float:
        from napari_gempick.results.run_file import read_run

        sizes = {row["pixel_size"] for row in read_run(folder)["micrographs"] if row.get("pixel_size")}
        if len(sizes) != 1:
            raise SettingsError(f"The micrographs of {folder} do not have one known pixel size; give lengths in Å.")
        return float(sizes.pop())

    return look_up


json_option = click.option("--json", "as_json", is_flag=True, help="Print a machine-readable result on stdout.")


def config_option(also: str = "") -> Callable[[Any], Any]:
    """Return the option --config; `also` names further kinds of files."""
    text = f"Settings from a JSON file, such as the run.json of an earlier run{also}; options given here replace them."
    return click.option("--config", type=click.Path(path_type=Path), help=text)


pool_option = click.option(
    "--pool",
    "pooled",
    is_flag=True,
    help="With --threshold auto: one threshold for each view, from the scores of all micrographs together.",
)

no_shifts_option = click.option(
    "--no-shifts",
    is_flag=True,
    help="Leave the coordinates of refined particles as they are; otherwise rlnOriginXAngst and rlnOriginYAngst are "
    "subtracted, as RELION does when it extracts again.",
)


class SettingOption(click.Option):
    """The option of a setting; `declared` is what the setting declares about itself."""

    def __init__(self, *args: Any, declared: Declared, **values: Any) -> None:
        super().__init__(*args, **values)
        self.declared = declared


def _option(one: Declared, *, show_default: bool = True) -> Callable[[Any], Any]:
    """Make the command-line option of one setting."""
    make = functools.partial(click.option, cls=SettingOption, declared=one)
    help_text = one.help + (f" [{one.unit}]" if one.unit else "") + (" [required]" if one.required else "")
    if show_default and one.default is not None and one.default != () and "Default: " not in one.help:
        text = " ".join(one.default) if one.many else one.default
        if one.type is bool:
            text = "on" if one.default else "off"
        help_text += f" [default: {text:g}]" if isinstance(text, float) else f" [default: {text}]"
    if one.type is bool:
        return make(f"{one.flag}/--no-{one.flag[2:]}", one.name, default=None, help=help_text)
    if one.many:
        return make(one.flag, one.name, multiple=True, metavar=str(one.metavar), help=help_text)
    number: Any = one.type if one.type in (int, float) and one.metavar is None else None
    if number and one.unit in ("px", "Å") and not one.name.endswith("pixel_size"):
        number = LengthType(one.unit, whole=one.type is int)
    kind = click.Choice(one.choices) if one.choices else number or str
    return make(one.flag, one.name, type=kind, default=None, metavar=one.metavar, help=help_text)


def settings_options(
    names: Iterable[str] | None = None, *, model: type[BaseModel] = PickSettings, show_defaults: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for each of the settings named (default: all); absent ones come as None or ()."""
    declared = declarations(model)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(list(names or declared)):
            function = _option(declared[name], show_default=show_defaults)(function)
        return function

    return decorate


def chosen_settings(
    options: dict[str, Any], config: Path | None = None, pixel_size: Callable[[], float] | None = None
) -> PickSettings:
    """Return the settings of a command, from its options and the file of --config; `pixel_size` is of the micrographs.

    Raises
    ------
    SettingsError
        A setting is wrong, or options contradict each other.
    """
    from napari_gempick.results.run_file import merged, read_settings

    in_file = None if config is None else read_settings(config).get("pixel_size")
    settings = merged(make_settings, read_settings, config, given(options, in_file or pixel_size))
    if settings.ctf is not None and options.get("contrast") is not None:
        raise SettingsError(f"Wrong settings: {CTF_GIVES_SIGN}.")
    return settings


def run_settings(
    options: dict[str, Any],
    config: Path | None,
    *,
    overwrite: bool,
    resume: bool,
    pooled: bool,
    pixel_size: Callable[[], float] | None = None,
) -> PickSettings:
    """Return the settings of a run that writes results; see `chosen_settings`.

    Raises
    ------
    SettingsError
        A setting is wrong, or options contradict each other.
    """
    from napari_gempick.results.thresholds import refuse_pooling

    if overwrite and resume:
        raise SettingsError("--overwrite and --resume cannot be combined; give only one.")
    settings = chosen_settings(options, config, pixel_size)
    if pooled:
        refuse_pooling(settings)
    return settings


def parse_format(context: click.Context, option: click.Parameter, value: str | None) -> Format | None:
    """Read the name of a coordinate format."""
    from napari_gempick.io.formats import format_named

    try:
        return None if value is None else format_named(value)
    except SettingsError as error:
        raise click.BadParameter(error.sentence, context, option) from error


class VariadicCommand(click.Command):
    """Lets one `--threshold`, `--mask`, `--in-plane-symmetry` or `--templates` be followed by several NAME=VALUE.

    Files without a name after `--templates` and `--teach` belong to these when a positional argument stands before.
    """

    variadic = ("--teach", *(one.flag for one in declarations(PickSettings).values() if one.kind == "per view"))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each further value."""
        flags = {flag for p in self.params for flag in (*p.opts, *p.secondary_opts)}
        switches = {flag for p in self.params if getattr(p, "is_flag", False) for flag in (*p.opts, *p.secondary_opts)}
        out: list[str] = []
        position, seen_positional = 0, False
        while position < len(args):
            word = args[position]
            out.append(word)
            position += 1
            if word not in flags:
                seen_positional = seen_positional or not word.startswith("-")
                continue
            if word in switches or position >= len(args):
                continue
            out.append(args[position])
            position += 1
            if word not in self.variadic:
                continue
            while position < len(args) and not args[position].startswith("-"):
                value = args[position]
                named = Named.read(value).name is not None
                if not named and not (word in ("--templates", "--teach") and seen_positional):
                    break
                out += [word, value]
                position += 1
        return super().parse_args(ctx, out)
