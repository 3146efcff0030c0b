"""gempick preview as a user runs it: a quick look that writes nothing."""

import json

import pytest


def test_picks_of_the_exact_search(data, gempick, basic, contents):
    before = contents(data)
    done = gempick("preview", "grid1/mic.mrc", *basic, "--compare", "--json", check=0)
    found = json.loads(done.stdout)
    assert (found["picks"], found["exact"], found["both"]) == (4, 4, 4)
    assert found["largest_score_difference"] < 0.01 and found["micrograph"] == "grid1/mic.mrc"
    stages = [line for line in done.stderr.splitlines() if "candidates refined" in line]
    assert stages[0].split(": ")[1].startswith("0 of ") and stages[-1].endswith(", 4 picks")
    assert contents(data) == before, "nothing is written"


def test_words_for_people(data, gempick, basic):
    plain = gempick("preview", "grid1/mic.mrc", *basic, check=0).stdout
    assert plain.startswith("4 picks in ") and "exact" not in plain
    compared = gempick("preview", "grid1/mic.mrc", *basic, "--border", 180, "--compare", check=0).stdout
    assert compared.startswith("0 picks in ") and "0 of its 0 picks" in compared


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nowhere.mrc", "--templates", "particle.mrc"), "nowhere.mrc does not exist"),
        (("grid1/mic.mrc",), "no templates"),
        (("grid1/mic.mrc", "--templates", "particle.mrc", "--exclude", "nowhere"), "nowhere"),
        (("grid1/mic.mrc", "--templates", "particle.mrc", "--save-maps"), "save-maps"),
    ],
)
def test_errors_are_sentences(data, gempick, arguments, sentence):
    done = gempick("preview", *arguments, check=2)
    assert sentence in done.stderr and not done.stdout and "Traceback" not in done.stderr
