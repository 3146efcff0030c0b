"""The command `gempick`, which is `python -m napari_gempick` too; an interrupt ends it with one sentence, always."""

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
    """Run the command; the exit status is 130 after Ctrl-C and 143 after SIGTERM, while modules are loaded too.

    A library may make an exception of its own of an interrupt, as extension modules do; it is one all the same.
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
