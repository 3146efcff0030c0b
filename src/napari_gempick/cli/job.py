"""gempick job: a data set as an MPI job."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli import ListedGroup
from napari_gempick.cli.common import EXIT_SOME_FAILED, command_errors, exit_status, print_picks, reported, say
from napari_gempick.cli.options import (
    VariadicCommand,
    chosen_settings,
    config_option,
    given,
    json_option,
    micrographs_pixel_size,
    settings_options,
)
from napari_gempick.cluster.settings import ClusterSettings
from napari_gempick.model.values import figures

if TYPE_CHECKING:
    from napari_gempick.cluster.status import Status

COMMANDS = {
    "export": "Write a job folder for a cluster.",
    "submit": "Submit a job folder to its scheduler.",
    "status": "How far a job is.",
    "collect": "One data set of picks from a job.",
    "cancel": "End a job.",
}


_site_option = click.option(
    "--site", help="The job's site, if it is a folder that has not been named on this machine yet."
)


@click.group("job", cls=ListedGroup, summaries=COMMANDS)
def job() -> None:
    """Pick a whole data set on a cluster, as an MPI job."""


@job.command("submit")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option("--root", help="Path of the micrographs' root on the cluster; remembered for later submissions.")
@click.option(
    "--site",
    help="The job's site, if it is a folder that has not been named on this machine yet (its commands run here); or "
    "another site to use from now on.",
)
@json_option
@command_errors
def submit(folder: Path, root: str | None, site: str | None, as_json: bool) -> int:
    """Submit a job to its scheduler, and print the job's number.

    Submitting again continues with what is missing: finished micrographs are checked and kept.
    """
    from napari_gempick.cluster.submit import submit_job

    made = submit_job(folder, root=root, site=site)
    if not reported(asdict(made), as_json):
        click.echo(made.job_id)
    return 0


@job.command("status")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@_site_option
@json_option
@command_errors
def status(folder: Path, site: str | None, as_json: bool) -> int:
    """Show the progress of a job: micrographs done and failed, the pace of each rank, time left.

    The scheduler is asked too if the job's files do not tell whether it is alive. Exit status 1: the job ended without
    a result.
    """
    from napari_gempick.cluster.status import LOST, job_status

    now = job_status(folder, site=site)
    if not reported(now.record(), as_json):
        _show_status(now)
    if now.remark:
        say(now.remark)
    if now.state != LOST:
        return 0
    if not as_json:
        click.echo("Its log ends:" if now.log else "It left no log.")
        for line in now.log:
            click.echo(f"  {line}")
    return EXIT_SOME_FAILED


def _show_status(now: Status) -> None:
    from rich.console import Console
    from rich.table import Table

    click.echo(
        f"{now.state}{f' (job {now.job_id})' if now.job_id else ''}: {now.done} of {now.total} micrographs done, "
        f"{now.failed} failed" + (f", about {now.seconds_left:.0f} s left" if now.seconds_left else "") + "."
    )
    if now.ranks:
        table = Table(box=None, pad_edge=False)
        for name in ("rank", "host", "devices"):
            table.add_column(name)
        for name in ("micrographs", "rotated templates / s", "last seen s ago"):
            table.add_column(name, justify="right")
        for rank in now.ranks:
            rate = "-" if rank.images_per_second is None else figures(rank.images_per_second)
            seen = f"{rank.seconds_ago:.0f}"
            table.add_row(str(rank.rank), rank.host, rank.devices, str(rank.micrographs), rate, seen)
        Console(width=110).print(table)
    for name in now.failures:
        click.echo(f"failed: {name}")


@job.command("collect")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Copy the results there. Default: JOBDIR/results."
)
@json_option
@command_errors
def collect(folder: Path, output: Path | None, as_json: bool) -> int:
    """Make one data set of a job's results, finished or not: autopick.star, run.json and report.md.

    The folder is then like one of `gempick pick`: retune, evaluate and extract work on it.
    """
    from napari_gempick.cluster.collect import collect_job, coverage_sentence

    run = collect_job(folder, output, say)
    if not reported(run, as_json):
        print_picks(run, output or folder / "results")
        click.echo(coverage_sentence(run["job"]["coverage"]))
    return exit_status(run) or int(run["state"] != "complete")


@job.command("cancel")
@click.argument("folder", metavar="JOBDIR", type=click.Path(path_type=Path))
@_site_option
@json_option
@command_errors
def cancel(folder: Path, site: str | None, as_json: bool) -> int:
    """End the job that was submitted last; what is finished stays, and it can be submitted again."""
    from napari_gempick.cluster.submit import cancel_job

    job_id = cancel_job(folder, site=site)
    if not reported({"job_id": job_id}, as_json):
        click.echo(f"Cancelled {job_id}.")
    return 0


@job.command("export", cls=VariadicCommand)
@click.argument("micrographs", nargs=-1, required=True, metavar="MICROGRAPH...")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The job folder; new or empty.")
@settings_options(model=ClusterSettings)
@click.option("--root", help="Folder of all micrographs; their paths are stored relative to it.")
@click.option("--cluster-root", help="What that folder is called on the cluster. Default: the same.")
@settings_options()
@config_option(" or another job.json")
@json_option
@command_errors
def export(
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
    from napari_gempick.results.run_file import merged, read_cluster

    for_cluster = given({name: options.pop(name) for name in ClusterSettings.model_fields})
    settings = chosen_settings(options, config, micrographs_pixel_size(micrographs, [output]))
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
    if reported({"folder": str(made.job.folder), "remarks": made.remarks, "estimate": made.estimate.record()}, as_json):
        return status
    for sentence in made.estimate.sentences():
        click.echo(sentence)
    click.echo(f"The job is in {output}; next: gempick job submit {shlex.quote(str(output))}")
    return status
