"""Rules of the whole process: set while at least one thread asks for them, and then set back."""

import sys

import pytest
import scipy.linalg
from threadpoolctl import ThreadpoolController

from napari_gempick.device.thread_rules import TURN_SECONDS, one_thread, products_repeat, short_turns
from napari_gempick.engine.matching.pipeline import search_all
from napari_gempick.engine.matching.workers import DevicePool
from napari_gempick.model.errors import InputError


@pytest.fixture
def products():
    """What tells the most threads of matrix products of NumPy and of SciPy, which are two before the test."""
    assert products_repeat(), "NumPy's wheels have OpenBLAS"
    libraries = ThreadpoolController().select(user_api="blas")
    assert scipy.linalg and len(libraries.lib_controllers) >= 2, "NumPy's and SciPy's"
    with libraries.limit(limits=2):
        yield lambda: max(one["num_threads"] for one in libraries.info())


@pytest.mark.parametrize(("rule", "of", "value"), [(short_turns, "", TURN_SECONDS), (one_thread, "products", 1)])
def test_the_last_user_sets_back_what_the_first_found(request, rule, of, value):
    read = request.getfixturevalue(of) if of else sys.getswitchinterval
    before = read()
    assert before != pytest.approx(value)
    first, second = rule(), rule()
    with pytest.raises(KeyError), first:
        second.__enter__()
        assert read() == pytest.approx(value)
        raise KeyError
    assert read() == pytest.approx(value)
    second.__exit__(None, None, None)
    assert read() == pytest.approx(before)


def test_turns_are_short_while_micrographs_are_searched():
    def load():
        raise InputError("m.mrc cannot be read; write it again.")

    before = sys.getswitchinterval()
    outcomes = search_all([load, load], DevicePool([]))
    assert next(outcomes).error.sentence.startswith("m.mrc")
    assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)
    outcomes.close()
    assert sys.getswitchinterval() == pytest.approx(before)
