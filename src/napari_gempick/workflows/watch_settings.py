"""Every parameter of watching folders, declared once: the command line and the window read this."""

from __future__ import annotations

import functools

from pydantic import ValidationInfo, field_validator

from napari_gempick.model.declaration import Settings, declare
from napari_gempick.model.values import read_duration

_time = functools.partial(declare, group=None, metavar="TIME")


class WatchSettings(Settings):
    """Settings of watching folders. Times are texts such as 90s, 30m or 2h."""

    pattern: str = declare(
        "*",
        "Only files whose names match, such as '*_doseweighted.mrc'; quote it, so that the shell does not expand it.",
        group=None,
        metavar="PATTERN",
    )
    poll: str = _time("5s", "How often the folders are listed; this works on network file systems too.")
    settle: str = _time(
        "5s",
        "A file is complete when it holds all that its header announces and has not changed for this long. One that is "
        "still incomplete after ten times as long is reported as broken.",
    )
    ctf_wait: str = _time("30m", "With --ctf: how long a micrograph may wait until the CTF's file or folder has it.")
    refresh: str = _time(
        "1m",
        "With --threshold auto or --score learned: the shortest time between two choices of thresholds by the whole "
        "run. One is made when there are 10 % more micrographs, or no new ones, in at most 5 % of the time.",
    )
    until_idle: str | None = _time(
        None, "End when nothing has arrived or been picked for this long. Default: watch until stopped."
    )

    @field_validator("poll", "settle", "ctf_wait", "refresh", "until_idle")
    @classmethod
    def _duration(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and read_duration(text) == 0 and info.field_name in ("poll", "settle"):
            raise ValueError(f"{text!r}: this time must be longer than 0")
        return text

    def seconds(self, name: str) -> float:
        """Return one of the times in seconds."""
        return read_duration(getattr(self, name))


make_watch_settings = WatchSettings.model_validate
"""Build settings from plain values; raises SettingsError, one sentence that names each wrong setting."""
