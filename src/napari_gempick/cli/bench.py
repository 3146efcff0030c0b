"""gempick bench and gempick devices: how fast this machine is, and what it has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from napari_gempick.cli.common import command_errors, reported, say
from napari_gempick.cli.options import LengthType, json_option
from napari_gempick.device.cores import usable_cores
from napari_gempick.device.discover import describe_machine
from napari_gempick.model.settings import MOST_THREADS
from napari_gempick.model.values import counted
from napari_gempick.results.run_file import read_run
from napari_gempick.workflows.bench import PAPER, Workload, measure, scaling

if TYPE_CHECKING:
    from napari_gempick.model.values import Length


@click.command("bench")
@click.option("--micrograph-size", type=click.IntRange(64), default=4096, show_default=True, help="Side. [pixels]")
@click.option("--template-size", type=click.IntRange(8), default=160, show_default=True, help="Side. [pixels]")
@click.option(
    "--templates",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Rotated templates to measure; the last unit of work is filled.",
)
@click.option(
    "--masks",
    type=click.Choice(["shared", "own"]),
    default="shared",
    show_default=True,
    help="shared: one circle; own: a rectangle turned with each template, no two equal.",
)
@click.option(
    "--threads",
    type=click.IntRange(0, MOST_THREADS),
    default=1,
    show_default=True,
    help="Total number of CPU threads; 0: all cores.",
)
@click.option(
    "--devices",
    "--device",
    default="cpu",
    show_default=True,
    help="As in gempick pick; none, with --pipeline: a device that answers at once.",
)
@click.option("--scaling", "with_scaling", is_flag=True, help="Also measure 1, 2, 4, ... threads.")
@click.option("--paper", is_flag=True, help="The published workload: 14,630 templates of 160² on 4096².")
@click.option(
    "--extrapolate",
    type=click.IntRange(1),
    help="Also state the time for this many templates, extrapolated from the measured ones.",
)
@click.option(
    "--bank",
    type=click.Path(path_type=Path),
    metavar="MAP",
    help="Compare the full search with that by a basis, on the projections of a 3D map under one circle.",
)
@click.option("--symmetry", default="C1", show_default=True, metavar="C1|D2|...", help="With --bank: of the map.")
@click.option(
    "--views", type=click.IntRange(min=1), help="With --bank: number of projections. Default: every 15 degrees."
)
@click.option(
    "--angle-step", type=click.FloatRange(min=0.5), default=4.0, show_default=True, help="With --bank. [degrees]"
)
@click.option("--lowpass", type=LengthType("Å", 0), default="20", show_default=True, help="With --bank. [Å]")
@click.option(
    "--micrograph",
    type=click.Path(path_type=Path),
    help="With --bank: the micrograph to search. Default: white noise of --micrograph-size.",
)
@click.option("--pixel-size", type=click.FloatRange(min=0, min_open=True), help="With --micrograph. [Å]")
@click.option(
    "--pipeline",
    is_flag=True,
    help="Measure whole runs of gempick pick, from files to files, with 288 rotated templates.",
)
@click.option(
    "--micrographs", type=click.IntRange(4), default=12, show_default=True, help="With --pipeline: how many are made."
)
@click.option(
    "--pixels",
    type=click.Choice(["int8", "float32"]),
    default="int8",
    show_default=True,
    help="With --pipeline: what the files hold.",
)
@json_option
@command_errors
def bench(
    paper: bool,
    extrapolate: int | None,
    with_scaling: bool,
    as_json: bool,
    bank: Path | None,
    symmetry: str,
    views: int | None,
    angle_step: float,
    lowpass: Length,
    micrograph: Path | None,
    pixel_size: float | None,
    pipeline: bool,
    micrographs: int,
    pixels: str,
    **options: Any,
) -> None:
    """Measure the engine on random data: templates per second, and the cost of one in plain full-size inverse FFTs.

    The plain FFT (FFTW, float32, MEASURE, one thread) is timed before and after in the same run. Figures that are
    extrapolated say so.
    """
    if pipeline:
        from napari_gempick.workflows.bench_pipeline import measure_pipeline

        figures = measure_pipeline(
            micrographs=micrographs,
            micrograph_size=options["micrograph_size"],
            pixels=pixels,
            threads=options["threads"] or usable_cores(),
            devices=options["devices"],
        )
        if not reported(figures, as_json):
            _print_pipeline(figures)
        return
    if bank is not None:
        from napari_gempick.workflows.bench_bank import measure_bank

        found = measure_bank(
            bank,
            symmetry=symmetry,
            views=views,
            angle_step=angle_step,
            lowpass=lowpass.used(pixel_size) or None,
            micrograph=micrograph,
            micrograph_size=options["micrograph_size"],
            pixel_size=pixel_size,
            threads=options["threads"] or usable_cores(),
        )
        if not reported(found, as_json):
            _print_bank(found)
        return
    if paper:
        options |= PAPER if extrapolate is None else {**PAPER, "templates": options["templates"]}
        extrapolate = extrapolate and PAPER["templates"]
    work = Workload(**options)
    figures = measure(work)
    if with_scaling:
        figures["scaling"] = scaling(work)
    if extrapolate:
        figures["extrapolated"] = {
            "templates": extrapolate,
            "seconds": (extrapolate * figures["ms_per_template"] + figures["once_per_micrograph_ms"]) / 1e3,
            "extrapolated_from_templates": figures["workload"]["templates"],
        }
    if not reported(figures, as_json):
        _print(figures)


def _print_bank(found: dict[str, Any]) -> None:
    full, ours = (
        f"{found['seconds'][kind]:.2f} s, {found['templates_per_second'][kind]:.0f} templates/s, "
        f"{found['plain_ffts_per_template'][kind]:.2f} plain FFTs per template"
        for kind in ("full", "compressed")
    )
    rows = [
        ("workload", f"{found['search_images']} rotated templates on {found['grid'][0]} x {found['grid'][1]} map "
                     f"pixels, {counted(found['threads'], 'thread')}"),
        ("full", full),
        ("compressed", ours),
        ("times as fast", f"{found['times_as_fast']:.2f}; --search auto takes the "
                          f"{'compressed' if found['auto'] else 'full'} search"),
        ("rank", f"{found['rank']}, made in {found['basis_seconds']:.2f} s with the templates"),
        ("stages", ", ".join(f"{name} {100 * share:.0f} %" for name, share in found["stages"].items())),
        ("exact scores", f"{found['exact_scores']}, {100 * found['share_of_scores']:.1f} % of both maps; "
                         f"the others within {found['map_bound']:.4f}"),
        ("candidates and decoys", f"{found['candidates']}, of one search only {found['candidates_of_one_only']}, "
                                  f"scores differ by up to {found['largest_score_difference']:.1e}, "
                                  f"other rotated templates {found['other_search_images']}"),
        ("plain inverse FFT", f"{found['plain_fft_ms']:.2f} ms"),
        ("peak memory", f"{found['peak_memory_mib']:.0f} MiB"),
    ]  # fmt: skip
    _print_rows(rows)


def _print_pipeline(found: dict[str, Any]) -> None:
    stages = found["stages"]
    rows = [
        ("workload", f"{found['micrographs']} micrographs of {found['micrograph_size']}², {found['pixels']}, "
                     f"{found['search_images']} rotated templates, devices {found['devices']}, "
                     f"{counted(found['threads'], 'thread')}"),
        ("rate", f"{found['micrographs_per_second']:.2f} micrographs/s, {found['seconds_per_micrograph']:.2f} s each"),
        ("search", f"{found['search_seconds']:.2f} s for a micrograph"),
        ("stages", ", ".join(f"{name} {seconds:.2f} s" for name, seconds in stages.items())),
        ("devices", found["limited_by"]),
        ("cores", f"{found['cores_used']:.2f} in use"),
        ("last step", f"{found['last_step_seconds']:.3f} s for each micrograph, after the last search"),
        ("candidates", f"{found['candidates']:.0f} for a micrograph"),
        ("peak memory", f"{found['peak_memory_mib']:.0f} MiB"),
    ]  # fmt: skip
    _print_rows(rows)


def _print_rows(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


def _print(figures: dict[str, Any]) -> None:
    work, tile = figures["workload"], figures["tile"]
    rows = [
        ("workload", f"{work['templates']} templates of {work['template_size']}² on {work['micrograph_size']}², "
                     f"{work['masks']} masks"),
        ("devices", ", ".join(f"{device['name']} ({device['model']})" for device in figures["devices"])),
        ("threads", str(work["threads"])),
        ("tiles", f"{tile['tiles']} of {tile['fft_shape'][0]} x {tile['fft_shape'][1]}"),
        ("templates per second", f"{figures['templates_per_second']:.1f}"),
        ("time per template", f"{figures['ms_per_template']:.2f} ms"),
        ("plain inverse FFT", f"{figures['plain_fft_ms']:.2f} ms"),
        ("cost of one rotated template, in full-size FFTs", f"{figures['ratio_to_plain_fft']:.2f}"),
        ("once per micrograph", f"{figures['once_per_micrograph_ms']:.0f} ms"),
        ("peak memory", f"{figures['peak_memory_mib']:.0f} MiB"),
        ("bytes per template", f"{figures['bytes_per_template'] / 1e6:.0f} MB, "
                               f"{100 * figures['share_of_copy_bandwidth']:.0f} % of a copy's bandwidth"),
    ]  # fmt: skip
    for row in figures.get("scaling", []):
        rate, speed_up = row["templates_per_second"], row["speed_up"]
        rows.append((counted(row["threads"], "thread"), f"{rate:.1f} templates/s, {speed_up:.2f} times one thread"))
    if "extrapolated" in figures:
        more = figures["extrapolated"]
        rows.append((f"{more['templates']} templates", f"{more['seconds']:.0f} s, extrapolated, not measured"))
    _print_rows(rows)
    spread = figures["plain_fft_ms_before_after"]
    if max(spread) > 1.2 * min(spread):
        say("The plain FFT took very different times before and after: the machine is busy, so repeat the measurement.")


@click.command("devices")
@click.argument("results", required=False, type=click.Path(path_type=Path))
@json_option
@command_errors
def devices(results: Path | None, as_json: bool) -> None:
    """List the CPU and the GPUs that can be used, with free memory and library versions.

    With RESULTS, the output folder of a run, also say which devices it used and what limited it.
    """
    run = None if results is None else read_run(results)
    machine = describe_machine()
    if run is not None:
        machine["run"] = {"devices": run.get("devices", []), "stages": run.get("stages", {})}
    if reported(machine, as_json):
        return
    cpu = machine["cpu"]
    click.echo(f"cpu      {cpu['cpu']}, {counted(cpu['threads'], 'thread')}, NumPy {cpu['numpy']}, {cpu['fft']}")
    for gpu in machine["gpus"]:
        free, total = (gpu[key] / 2**30 for key in ("free", "total"))
        click.echo(f"{gpu['device']:<8} {gpu['name']}, {free:.1f} of {total:.1f} GiB free")
    if not machine["gpus"]:
        click.echo(f"no GPU   {machine['no_gpu_because']}")
    if run is not None:
        used = ", ".join(f"{device['name']} ({device['model']})" for device in run.get("devices", []))
        limit = run.get("stages", {}).get("limited_by") or "nothing was measured"
        click.echo(f"{results}: {used}; {limit}")
