"""How large automatic masks are beside the particle, and what masks do for picking with projections of a map.

python benchmarks/masks.py DATA [--margins 0 0.03 0.06 0.09] [--work FOLDER] [--only-areas]

DATA      the folder of the real micrographs and maps (apoferritin, betagal, klh)
--margins the common mask wider than the outlines by these shares of the diameter, see templates.masks.WIDENED
--work    keep the results there, and use what is there already

Areas: of automatic masks, the sum of their weights, over that of the truth, where the projection of the map without
noise is above 5 % of its maximum: `own` is the mask of one projection over its own truth (the least, the mean and the
most of all projections), `common` that of all projections over the truth of all. `noise` is that of the map that is
projected, white and as strong as this share of the map's largest density. The long map is a row of balls.

Picking: the sets of benchmarks/learned.py, F1 at the thresholds that `auto` chooses, and the best of one threshold.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mrcfile
import numpy as np
from learned import SETS, call

import napari_gempick as gp
from napari_gempick.engine.templates import masks

TRUE_FROM = 0.05
"""Share of a projection's maximum above which the particle is."""
NOISE = (0.0, 0.02, 0.1)
LOWEST = {"beta-galactosidase, two": 0.3}
PROJECTIONS = ("beta-galactosidase, two", "apoferritin, three")
"""Sets whose templates are projections, of micrographs that have been averaged."""
AVERAGES = "KLH, two"


def maps(data: Path) -> Iterator[tuple[str, np.ndarray, float, str]]:
    """Name, density, pixel size and symmetry."""
    for name in PROJECTIONS:
        path, _, symmetry, *_ = SETS[name].projected
        with mrcfile.open(data / path) as file:
            yield name.split(",")[0], np.array(file.data, np.float32), float(file.voxel_size.x), symmetry
    z, y, x = np.indices((64, 64, 64)) - 32.0
    balls = [np.exp(-(x**2 + y**2 + (z - at) ** 2) / (2 * 3.0**2)) for at in (-18, -9, 0, 9, 18)]
    yield "a long particle", np.sum(balls, axis=0, dtype=np.float32), 4.0, "C1"


def areas(data: Path) -> None:
    print("| map | noise | projections | own, least | mean | most | common |\n|---|---|---|---|---|---|---|")
    for name, density, spacing, symmetry in maps(data):
        made = gp.project_map(density, spacing, symmetry=symmetry)
        clean, angles = made.images, made.angles
        true = clean > TRUE_FROM * clean.max(axis=(1, 2), keepdims=True)
        for noise in NOISE:
            rough = np.random.default_rng(1).standard_normal(density.shape, np.float32) * noise * density.max()
            seen = gp.project_map(density + rough, spacing, angles=angles).images
            own = [masks.automatic_weights(one).sum() / there.sum() for one, there in zip(seen, true, strict=True)]
            common = masks.automatic_weights(*seen).sum() / true.any(axis=0).sum()
            found = f"{min(own):.2f} | {np.mean(own):.2f} | {max(own):.2f} | {common:.2f}"
            print(f"| {name} | {noise:g} | {len(seen)} | {found} |", flush=True)


def picked(name: str, data: Path, folder: Path, templates: list[str], *more: object) -> str:
    """Pick a set; return the thresholds, F1 and the best F1 as cells."""
    one = SETS[name]
    if not (folder / "run.json").exists():
        micrographs = sorted(data.glob(one.micrographs))
        call("pick", *micrographs, "--templates", *templates, *more, "--threshold", "auto", "-o", folder)
    run = json.loads((folder / "run.json").read_text())
    chosen = [", ".join(f"{t:.2f}" for t in row["thresholds"].values()) for row in run["micrographs"]]
    low = folder.with_name(folder.name + "_low")
    if not low.exists():
        shutil.copytree(folder, low)
        call("retune", low, "--threshold", LOWEST.get(name, 0.1))
    found = [json.loads(call("evaluate", kind, data / one.truth, *one.rules, "--json")) for kind in (folder, low)]
    best = f"{found[1]['best_f1']:.3f} at {found[1]['best_threshold']:.2f}"
    return f"{'; '.join(chosen)} | {found[0]['f1']:.3f} | {best}"


def templates_of(name: str, data: Path, work: Path) -> list[str]:
    """The templates' arguments; projections and the mask file that comes with them are made where they are missing."""
    if not SETS[name].projected:
        return [f"{view}={data}/klh/klh_{view}_average_4.4A.mrc" for view in ("side", "top")]
    made = work / f"{name.split(',')[0]}.mrcs"
    path, *options = SETS[name].projected
    if not made.exists():
        call("templates", "project", data / path, "-o", made, *options)
    return [f"one={made}"]


def without_diameter(name: str) -> list[object]:
    given = list(SETS[name].options)
    if "--diameter" in given and SETS[name].projected:
        at = given.index("--diameter")
        del given[at : at + 2]
    return given


def kinds_of_masks(name: str, data: Path, work: Path) -> None:
    """Print the table of masks of each projection's own and of one for all."""
    (template,) = templates_of(name, data, work)
    file = Path(template.removeprefix("one="))
    stack = gp.read_stack(file)
    outlines = np.stack([masks.outline(one) for one in stack.data])
    written = {
        "each projection's own outline, a binary file": outlines,
        "the same with a soft edge of 3 px outside": np.stack([masks.soft_edge(one, 3.0) for one in outlines]),
        "the same, widened by a fifth of the diameter besides": np.stack(
            [masks.soft_edge(masks.widened(one, 0.2), 3.0) for one in outlines]
        ),
    }
    rows: dict[str, tuple[object, ...]] = {}
    for number, (what, weights) in enumerate(written.items()):
        path = work / f"own_{number}_of_{file.name}"
        with mrcfile.new(path, overwrite=True) as opened:
            opened.set_data(np.asarray(weights, np.float32))
            opened.voxel_size = stack.pixel_size
        rows[what] = ("--mask", f"one={path}")
    rows["one for all, the file that `templates project` writes"] = (
        "--mask", f"one={file.with_name(file.stem + '_mask.mrcs')}",
    )  # fmt: skip
    rows["one for all, as `pick --mask auto` draws it"] = ()
    if "--diameter" in SETS[name].options:
        at = SETS[name].options.index("--diameter")
        rows[f"`--diameter {SETS[name].options[at + 1]}`"] = SETS[name].options[at : at + 2]
    print(f"\n| mask, {name} | thresholds by `auto` | F1 | best F1 |\n|---|---|---|---|")
    for number, (what, more) in enumerate(rows.items()):
        folder = work / f"mask_{number}_of_{file.stem}"
        print(f"| {what} | {picked(name, data, folder, [template], *without_diameter(name), *more)} |", flush=True)


def margins(data: Path, work: Path, shares: list[float]) -> None:
    """The common mask at other margins: its area over the truth of all projections, and F1 for each set."""
    sets = (*PROJECTIONS, AVERAGES)
    print("\n| margin | " + " | ".join(f"{name}: area | thresholds | F1 | best F1" for name in sets) + " |")
    print("|---|" + "---|" * 4 * len(sets))
    usual = masks.WIDENED
    for share in shares:
        masks.WIDENED = share
        cells = []
        for name in sets:
            templates = templates_of(name, data, work)
            area = "-"
            if SETS[name].projected:
                stack = gp.read_stack(Path(templates[0].removeprefix("one="))).data
                true = (stack > TRUE_FROM * stack.max(axis=(1, 2), keepdims=True)).any(axis=0)
                area = f"{masks.automatic_weights(*stack).sum() / true.sum():.2f}"
            given = [*without_diameter(name), "--mask", "auto"] if name == AVERAGES else without_diameter(name)
            folder = work / f"{name.split(',')[0]}_{share:g}".replace(" ", "_")
            cells.append(f"{area} | {picked(name, data, folder, templates, *given)}")
        print(f"| {share:g} | " + " | ".join(cells) + " |", flush=True)
    masks.WIDENED = usual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--margins", type=float, nargs="*", default=[0.0, 0.03, masks.WIDENED, 0.09])
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only-areas", action="store_true")
    options = parser.parse_args()
    areas(options.data)
    if options.only_areas:
        return
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    for name in PROJECTIONS:
        kinds_of_masks(name, options.data, work)
    margins(options.data, work, options.margins)


if __name__ == "__main__":
    main()
