"""The part of gempick evaluate that compares sets of picks with one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from napari_gempick.cli.common import print_json, say
from napari_gempick.cli.tables import aligned
from napari_gempick.job import compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_gempick.io.formats import Format


def compare_and_print(
    named: dict[str, Path], tolerance: float, folder: Path | None, to: Format, *, overwrite: bool, as_json: bool
) -> None:
    """Compare sets with one another and print it."""
    sets = compare.sets_of(named)
    micrographs = compare.compare_sets(sets, tolerance)
    result = compare.comparison(list(sets), micrographs)
    if folder is not None:
        export(sets, micrographs, folder, to, overwrite=overwrite)
    if as_json:
        print_json({"tolerance_px": tolerance, **result})
        return
    click.echo(f"tolerance {tolerance:g} px, {result['micrographs']} micrographs")
    columns = ("a", "b", "matched", "only_a", "only_b", "mean_distance")
    click.echo("\n".join(aligned(result["pairs"], columns)))
    views = [{"a": pair["a"], "b": pair["b"], **view} for pair in result["pairs"] for view in pair["per_view"]]
    if views:
        click.echo("\n".join(aligned(views, ("view", "a", "b", "matched_a", "matched_b", "only_a", "only_b"))))
    if len(sets) > 2:
        rows = [{"name": name, "picks": result["picks"][name], "alone": result["alone"][name]} for name in sets]
        click.echo("\n".join(aligned(rows, ("name", "picks", "alone"))))
        click.echo(f"\nIn all sets: {result['in_all']}")


def export(
    sets: Iterable[str], micrographs: Sequence[compare.Compared], folder: Path, to: Format, *, overwrite: bool
) -> None:
    """Write consensus and differences and say where."""
    places = compare.export_sets(folder, list(sets), micrographs, to, overwrite=overwrite)
    say(f"Wrote {', '.join(places)}.")
