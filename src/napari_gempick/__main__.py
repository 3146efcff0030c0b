"""The command `gempick`, which is `python -m napari_gempick` too; an interrupt ends it with one sentence, always."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


def main() -> NoReturn:
    """Run the command; the exit status is 130 after Ctrl-C and 143 after SIGTERM, while modules are loaded too."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from napari_gempick.cli import run

        status = run()
    except KeyboardInterrupt as interrupt:
        status = 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
        os.write(2, b"Stopped.\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
