"""Which stage limits a run, by the time that each takes."""

from types import SimpleNamespace

import pytest

from napari_gempick.engine.matching.stage_times import StageTimes


@pytest.mark.parametrize(
    ("busy", "readers", "seconds", "limit"),
    [
        (0.97, 1, {"read": 9.0}, "devices busy 97 %"),
        (0.4, 1, {"prepare": 3.0, "read": 4.0, "write": 6.0}, "devices busy 40 %; reading limits: 50 MB/s"),
        (0.4, 1, {"prepare": 3.0, "read": 1.0, "write": 2.0}, "devices busy 40 %; preparing limits"),
        (0.4, 4, {"prepare": 3.0, "read": 4.0, "write": 6.0}, "devices busy 40 %; writing limits"),
        (0.4, 4, {"prepare": 3.0, "read": 4.0, "write": 1.0}, "devices busy 40 %; reading limits: 200 MB/s"),
    ],
)
def test_the_stage_that_takes_longest_limits(busy, readers, seconds, limit):
    """Threads that read and prepare at the same time take that many times less."""
    times = StageTimes()
    times.readers, times.seconds = readers, seconds
    for _ in range(4):
        times.count_bytes(50_000_000)
    told = times.describe(SimpleNamespace(busy_share=busy))
    assert told == {"seconds": seconds, "devices_busy": busy, "limited_by": limit}
