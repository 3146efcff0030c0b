"""What is said about how often each micrograph was compared with each rotated template."""

from napari_gempick.cluster.collect import coverage, coverage_sentence


def row(pairs, least=1, most=1, images=12):
    return {"coverage": {"search_images": images, "pairs": pairs, "least": least, "most": most}}


def test_all_pairs_of_the_micrographs_that_were_picked():
    proof = coverage([row(12), row(12), {"error": "truncated"}], 5)
    assert coverage_sentence(proof) == (
        "Each of the 24 pairs of a micrograph and a rotated template was scored exactly once, as the ranks counted "
        "(2 micrographs; 1 failed, 2 not done yet)."
    )
    assert coverage_sentence(coverage([row(12)], 1)).endswith("counted (1 micrograph).")


def test_pairs_that_are_missing_or_twice():
    assert coverage_sentence(coverage([row(11, least=0), row(14, most=3)], 2)) == (
        "NOT every pair of a micrograph and a rotated template was scored exactly once: 25 were counted, 24 expected, "
        "each 0 to 3 times (2 micrographs)."
    )
    assert not coverage([], 3)["every_pair_once"]
