"""`gempick report` on a small run: everything is in the page, and the pictures show the particles."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest

from napari_gempick.io.stack import read_stack

FILES = ("report.html", "particle_sheet.png")


class Page(HTMLParser):
    """Tags that open and close in order, the sources of pictures, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in ("line", "rect")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(gempick, data, basic):
    """A run with a micrograph that failed and a name that HTML must not understand."""
    (data / "grid2/other.mrc").rename(data / "grid2/a <b> & c.mrc")
    (data / "grid2/bad.mrc").write_bytes(b"nothing" * 1000)
    gempick("pick", "grid1", "grid2", *basic, "--border", "0", "-o", "run", check=1)
    return data / "run"


def test_the_page_has_everything_in_it(gempick, run, data):
    made = json.loads(gempick("report", "run", "--particles", 2, "--json", check=0).stdout)
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http" not in text.replace("<!DOCTYPE html>", "")
    results = json.loads((run / "run.json").read_text())
    rows = [row for row in results["micrographs"] if "error" not in row]
    assert (made["micrographs"], made["picks"]) == (3, sum(row["picks"] for row in rows))
    for words in ("a <b> & c", "bad.mrc", "angle step", "15 degrees", "threshold 0.5", "circle:130", "3 + 1 failed"):
        assert words in page.text, words
    for row in rows:
        assert f"{row['best_score']:.3f}" in page.text
    assert text.count("<dt>threshold</dt><dd>0.5</dd>") == len(results["views"])
    bars = re.findall(r"<title>[^<]*: (\d+) picks</title>", text)
    assert sum(map(int, bars)) == made["picks"]
    candidates = re.findall(r"<title>[^<]*: (\d+) candidates</title>", text)
    assert sum(map(int, candidates)) == sum(row["candidates"] for row in rows)
    first = {name: (run / name).read_bytes() for name in FILES}
    again = gempick("report", "run", "--particles", 2, check=2)
    assert "and 1 more already exist; add --overwrite" in again.stderr
    gempick("report", "run", "--particles", 2, "--overwrite", check=0)
    assert {name: (run / name).read_bytes() for name in FILES} == first
    gempick("report", "run", "--particles", 2, "-o", "elsewhere", check=0)
    assert sorted(path.name for path in (data / "elsewhere").iterdir()) == sorted(FILES)


def test_the_mean_image_looks_like_the_template(gempick, run):
    gempick("report", "run", "--particles", 2, check=0)
    page = Page((run / "report.html").read_text(encoding="utf-8"))
    pictures = [
        matplotlib.image.imread(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in page.sources
    ]
    template, mean = pictures[0][..., 0], pictures[1][..., 0]
    assert np.corrcoef(template.ravel(), mean.ravel())[0, 1] > 0.9
    stored = read_stack("particle.mrc").data[0]
    assert template.shape == mean.shape and abs(template.shape[0] - stored.shape[0]) <= 12
    sheet = matplotlib.image.imread(run / "particle_sheet.png")
    assert sheet.shape[1] > 2000 and sheet.std() > 0.1


def test_micrographs_and_templates_that_are_gone_are_said(gempick, run, data):
    (data / "grid1/mic.mrc").unlink()
    (data / "particle.mrc").unlink()
    done = gempick("report", "run", "--particles", 2, check=0)
    assert "grid1/mic.mrc does not exist" in done.stderr and "particle.mrc does not exist" in done.stderr
    assert "grid1/mic.mrc does not exist" in Page((run / "report.html").read_text()).text
    for row in ("grid2/mic.mrc", "grid2/a <b> & c.mrc"):
        (data / row).unlink()
    gempick("report", "run", "--particles", 2, "--overwrite", check=0)
    assert (run / "particle_sheet.png").stat().st_size > 5000


def test_no_picks_and_no_results(gempick, run, data):
    gempick("retune", "run", "--threshold", "0.99", check=1)
    gempick("report", "run", "--particles", 2, check=0)
    assert re.search(r"(?<!\d)0picks", Page((run / "report.html").read_text()).text)
    assert "not a folder of results" in gempick("report", "grid1", check=2).stderr
