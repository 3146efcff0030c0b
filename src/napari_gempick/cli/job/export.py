"""gempick job export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from napari_gempick.cli.common import (
    EXIT_SOME_FAILED,
    VariadicCommand,
    command_errors,
    config_option,
    json_option,
    print_json,
    say,
    settings_options,
)
from napari_gempick.cli.lengths import given, micrographs_pixel_size
from napari_gempick.cluster.settings import ClusterSettings


@click.command("export", cls=VariadicCommand)
@click.argument("micrographs", nargs=-1, required=True, metavar="MICROGRAPH...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The job folder; new or empty.")
@settings_options(model=ClusterSettings)
@click.option("--root", help="Folder of all micrographs; their paths are stored relative to it.")
@click.option("--cluster-root", help="What that folder is called on the cluster. Default: the same.")
@settings_options()
@config_option(" or another job.json")
@json_option
@command_errors
def command(
    micrographs: tuple[str, ...],
    output: Path,
    root: str | None,
    cluster_root: str | None,
    config: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Write a folder with everything that a cluster needs to pick micrographs, except the micrographs.

    Templates and masks are copied, the FFT plan is carried along, and a script for the scheduler is written. One
    micrograph is measured here, to estimate time and memory.
    """
    from napari_gempick.cluster.export import export_job
    from napari_gempick.cluster.settings import make_cluster
    from napari_gempick.inputs.views import pixel_size_hints
    from napari_gempick.io.listing import find_micrographs
    from napari_gempick.model.settings import make_settings
    from napari_gempick.results.run_file import merged, read_cluster, read_settings

    in_file = None if config is None else read_settings(config).get("pixel_size")
    chosen = given(options, in_file or micrographs_pixel_size(micrographs, [output]))
    for_cluster = {name: chosen.pop(name) for name in list(chosen) if name in ClusterSettings.model_fields}
    settings = merged(make_settings, read_settings, config, chosen)
    cluster = merged(make_cluster, read_cluster, config, for_cluster)
    notes: list[str] = []
    files = find_micrographs(micrographs, skip=[output], notify=notes.append)
    notes += pixel_size_hints(settings, files)
    for note in notes:
        say(note)
    made = export_job(settings, files, output, cluster, root=root, cluster_root=cluster_root, notes=notes)
    missing = [str(file.path) for file in files if not file.path.exists()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        say(f"{missing[0]}{more} does not exist here; if it is missing on the cluster too, it will count as failed.")
    for sentence in (*made.left_out, *made.remarks):
        say(sentence)
    status = EXIT_SOME_FAILED if made.left_out else 0
    if as_json:
        print_json({"folder": str(made.job.folder), "remarks": made.remarks, "estimate": made.estimate.record()})
        return status
    for sentence in made.estimate.sentences():
        click.echo(sentence)
    click.echo(f"The job is in {output}; next: gempick job submit {shlex.quote(str(output))}")
    return status
