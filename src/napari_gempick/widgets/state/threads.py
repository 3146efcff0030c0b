"""Work off the window's thread: a few threads for files, and one way back."""

from __future__ import annotations

import queue
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from napari_gempick.model.errors import Cancelled, GempickError

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    Post = Callable[[Callable[[], None]], None]


class Mailbox:
    """Calls that wait for the window's thread; tests and scripts empty it themselves."""

    def __init__(self) -> None:
        self._calls: queue.Queue[Callable[[], None]] = queue.Queue()

    def post(self, call: Callable[[], None]) -> None:
        """Leave a call; from any thread."""
        self._calls.put(call)

    def deliver(self, timeout: float = 0.0) -> bool:
        """Make the next call; returns False when none came within `timeout` seconds."""
        try:
            call = self._calls.get(timeout=timeout) if timeout else self._calls.get_nowait()
        except queue.Empty:
            return False
        call()
        return True


class Background:
    """Runs functions on threads and hands their results to the window's thread.

    Parameters
    ----------
    post : callable
        `post(call)` makes a call on the window's thread.
    failed : callable
        Gets the sentence of an error; called on the window's thread.
    threads : int
        With one, functions run in the order in which they were given.
    """

    def __init__(self, post: Post, failed: Callable[[str], None], threads: int = 2) -> None:
        self._post, self._failed = post, failed
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="gempick")
        self._given: set[Future[None]] = set()
        self._timers: set[threading.Timer] = set()
        self.closed = False

    @property
    def busy(self) -> bool:
        """Whether a function waits or runs, or has not handed back its result yet."""
        return any(not one.done() for one in self._given)

    def do(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None] = lambda result: None,
        otherwise: Callable[[], None] = lambda: None,
    ) -> None:
        """Run `work` on a thread, then `then(result)` on the window's thread; errors become sentences.

        After an error `otherwise()` is called there first; after Cancelled nothing else is.
        """
        if self.closed:
            return

        def fail(sentence: str) -> None:
            otherwise()
            self._failed(sentence)

        def run() -> None:
            try:
                result = work()
            except Cancelled:
                self.back(otherwise)
            except GempickError as error:
                sentence = error.sentence
                self.back(lambda: fail(sentence))
            except Exception as error:
                traceback.print_exc()
                sentence = f"An error of the program: {error!r}."
                self.back(lambda: fail(sentence))
            else:
                self.back(lambda: then(result))

        self._given = {one for one in self._given if not one.done()} | {self._pool.submit(run)}

    def back(self, call: Callable[[], None]) -> None:
        """Make a call on the window's thread, unless it is closed by then."""

        def guarded() -> None:
            if not self.closed:
                call()

        if not self.closed:
            self._post(guarded)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Make a call on the window's thread after some time, unless it is closed by then."""
        timer = threading.Timer(seconds, self.back, [call])
        timer.name, timer.daemon = "gempick timer", True
        self._timers = {one for one in self._timers if one.is_alive()} | {timer}
        timer.start()

    def stop_if_closed(self, _: float = 0.0) -> None:
        """End the work that calls this, as its progress, once the window is closed.

        Raises
        ------
        Cancelled
            It is.
        """
        if self.closed:
            raise Cancelled("The window is closed.")

    def close(self) -> None:
        """Wait for what runs, drop what waits."""
        self.closed = True
        for timer in self._timers:
            timer.cancel()
            timer.join()
        self._pool.shutdown(wait=True, cancel_futures=True)
