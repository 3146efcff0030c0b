"""The command `gempick`, also `python -m napari_gempick`; an interrupt always ends it with one sentence."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

_received: list[int] = []


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    _received.append(number)
    raise KeyboardInterrupt


def main() -> NoReturn:
    """Run the command; the exit status is 130 after Ctrl-C and 143 after SIGTERM, even while modules are being loaded.

    A library may turn an interrupt into an exception of its own, as extension modules do; it still counts as one.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        from napari_gempick.cli import run

        status = run()
    except BaseException as error:
        if not _received and not isinstance(error, KeyboardInterrupt):
            raise
        status = 128 + (_received[0] if _received else signal.SIGINT)
        os.write(2, b"Stopped.\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
