"""Go through the tutorial in a real window and take its pictures: `make tutorial`.

Uses klh_001.mrc and its averages where they are at hand (GEMPICK_TEST_DATA, or shared/data beside the repository). At
the end the file that was exported is compared with the points that are seen.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from window import Window

from cluster import through_a_cluster
from napari_gempick.io.coordinates import read_coordinates

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "images" / "tutorial"
STRIP = ROOT / "docs" / "images" / "strip.png"


def klh() -> Path:
    """Return the folder of the KLH micrographs."""
    given = os.environ.get("GEMPICK_TEST_DATA")
    folder = (Path(given) if given else ROOT.parent / "shared" / "data") / "klh"
    if not folder.exists():
        sys.exit(f"{folder} does not exist; set GEMPICK_TEST_DATA to the folder of the real micrographs.")
    return folder


def main() -> None:
    """Take the pictures."""
    source = klh()
    work = Path(tempfile.gettempdir()) / "klh"  # its name is seen in the pictures
    if work.exists():
        sys.exit(f"{work} already exists; remove it first.")
    os.environ["XDG_CONFIG_HOME"] = str(work / "config")  # what the window remembers is the reader's own
    try:
        shutil.copytree(source, work)
        window = Window()
        dock, controller = window.dock, window.controller
        window.picture(PICTURES / "1_start.png")

        # files come by drag and drop or from the file dialog; both call this
        controller.add_micrographs([work / "klh_001.mrc", work / "klh_002.mrc"])
        window.until(lambda: controller.loaded is not None)
        for view in ("side", "top"):
            controller.add_view(view, [str(work / f"klh_{view}_average_4.4A.mrc")])
        window.spin(1.0)
        controller.change_view("side", mask="rectangle:405x405")
        controller.change_view("top", mask="circle:370")
        window.until(lambda: " on " in dock.search.cost.text())  # how long it will take
        window.picture(PICTURES / "2_templates.png")

        more = dock.search.advanced
        window.click(more.heading)
        dock.scroll.ensureWidgetVisible(more.fields["check_coordinates"].native)  # the last one
        window.spin(0.3)
        window.click(more.fields["per_view_maps"].native, 8)
        assert controller.state.values["per_view_maps"]
        window.picture(PICTURES / "more_settings.png")
        dock.scroll.ensureWidgetVisible(more.heading)
        window.click(more.heading)

        window.click(dock.search.run_this)
        window.until(lambda: dock.searches.progress > 0.3)
        window.picture(PICTURES / "3_search.png")
        window.until(lambda: controller.choice is not None)
        window.until(lambda: dock.layers.layer("Index") is not None)
        window.picture(PICTURES / "4_picks.png")

        window.drag(dock.tune.sliders["side"].slider, 0.33)
        window.drag(dock.tune.sliders["top"].slider, 0.5)
        window.picture(PICTURES / "5_tune.png")
        print("picks per view:", np.unique(list(dock.layers.layer("Picks").features["view"]), return_counts=True))

        limits = dock.tune.limits
        dock.scroll.ensureWidgetVisible(limits.heading)
        window.click(limits.heading)
        window.spin(0.5)
        dock.scroll.ensureWidgetVisible(limits)
        window.picture(PICTURES / "limits.png")
        window.click(limits.heading)

        points = dock.layers.layer("Picks")
        window.input("mousemove", *window.canvas(1024, 1024))
        for _ in range(3):  # the three with the lowest scores
            y, x = points.data[len(points.data) - 1 - len(controller.edits().added)]
            window.input("mousemove", *window.canvas(float(x), float(y)))
            window.input("key", "x")
        assert len(controller.edits().rejected) == 3, controller.edits()
        points.mode = "add"
        for number, (x, y) in enumerate(((200.0, 300.0), (1700.0, 1500.0)), 1):
            window.input("mousemove", *window.canvas(x, y))
            window.input("click", 1)
            window.until(lambda number=number: len(controller.edits().added) == number, 20)
        points.mode = "pan_zoom"
        y, x = points.data[0]
        window.input("mousemove", *window.canvas(float(x), float(y)))
        window.input("mousemove", *window.canvas(float(x) + 5, float(y) + 5))
        window.picture(PICTURES / "6_correct.png")

        window.input("key", "i")
        window.picture(PICTURES / "7_score_map.png")
        dock.viewing.choose("side")
        window.until(lambda: "side" in controller.loaded.maps)
        window.click(dock.viewing.positive)
        window.picture(PICTURES / "side_map.png")
        window.click(dock.viewing.positive)
        dock.viewing.choose("")
        window.input("key", "i")
        window.picture(PICTURES / "8_index_map.png")
        window.input("key", "i")

        dock.scroll.ensureWidgetVisible(dock.compare)
        window.click(dock.compare.heading)
        dock.comparison.load(work / "klh_001_truth.csv")
        window.until(lambda: "recall" in dock.compare.words.text())
        dock.scroll.ensureWidgetVisible(dock.compare.everything)
        window.picture(PICTURES / "11_compare.png")
        window.click(dock.compare.remove)
        dock.compare.set_open(False)

        dock.scroll.ensureWidgetVisible(dock.export)
        window.click(dock.export.this)
        path = controller.folder.path / "klh_001_autopick.star"
        window.until(lambda: path.exists() and len(read_coordinates(path).picks) == len(points.data))
        window.until(lambda: "verified" in dock.export.proof.text())
        dock.scroll.ensureWidgetVisible(dock.export.cluster)
        window.picture(PICTURES / "9_export.png")
        written = read_coordinates(path).picks
        seen = sorted((float(x), float(y)) for y, x in points.data)
        np.testing.assert_allclose(sorted(zip(written.x, written.y, strict=True)), seen, atol=1e-3)
        print(f"{path.name} holds the {len(seen)} picks that are seen.")

        particles = dock.export.particles
        window.click(particles.heading)
        dock.scroll.ensureWidgetVisible(particles.run)
        window.spin(0.3)
        window.click(particles.run)
        window.until(lambda: "particles of" in particles.result.text())
        dock.scroll.ensureWidgetVisible(particles.result)
        window.picture(PICTURES / "12_particles.png")
        particles.set_open(False)

        through_a_cluster(window, PICTURES)
        window.close()
        light = Window("light")
        light.dock.open([controller_folder(work)])
        light.until(lambda: light.dock.layers.layer("Index") is not None)
        light.until(lambda: light.dock.tune.open)
        light.picture(PICTURES / "10_light.png")
        light.close()
    finally:
        shutil.rmtree(work)
    strip()


def controller_folder(work: Path) -> Path:
    """Return the results folder of the session."""
    return work / "gempick"


def strip() -> None:
    """Put four of the pictures side by side for the front page."""
    names = ("2_templates", "4_picks", "7_score_map", "6_correct")
    pictures = [
        Image.open(PICTURES / f"{name}.png").convert("RGB").resize((640, 400), Image.Resampling.LANCZOS)
        for name in names
    ]
    sheet = Image.new("RGB", (2 * 640 + 8, 2 * 400 + 8), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(picture, ((number % 2) * 648, (number // 2) * 408))
    sheet.quantize(256, dither=Image.Dither.NONE).save(STRIP, optimize=True)


if __name__ == "__main__":
    main()
