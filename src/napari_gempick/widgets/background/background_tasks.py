"""Long work beside the searches, in a process of its own: particles, measurements, job folders. No Qt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_gempick.widgets.background.worker_process import SearchProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_gempick.widgets.state.controller import Controller


@dataclass
class Task:
    """Something that runs.

    Attributes
    ----------
    then : callable
        Gets the result.
    share : float
        How much is done, 0 to 1.
    started : float
        Seconds, time.monotonic().
    """

    number: int
    then: Callable[[Any], None]
    share: float = 0.0
    started: float = 0.0
    cancelling: bool = False

    def seconds_left(self) -> float | None:
        """Return how long it will take; None while that is unknown."""
        if self.share < 0.02:
            return None
        return (time.monotonic() - self.started) * (1 - self.share) / self.share


class BackgroundTasks:
    """Runs requests of window_worker one after the other; errors are reported as those of searches."""

    changed = Signal()

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        back = controller.background.back
        self._process = SearchProcess(lambda event: back(lambda: self._heard(event)))
        self._number = 0
        self._tasks: dict[int, Task] = {}

    @property
    def current(self) -> Task | None:
        """What runs now."""
        return next(iter(self._tasks.values()), None)

    def start(self, then: Callable[[Any], None], **request: Any) -> Task:
        """Send a request; `then(result)` is called on the window's thread."""
        self._number += 1
        task = self._tasks[self._number] = Task(self._number, then, started=time.monotonic())
        self._process.ask(run=self._number, **request)
        self.changed.emit()
        return task

    def cancel(self) -> None:
        """Stop what runs, and what waits for it."""
        for task in [one for one in self._tasks.values() if not one.cancelling]:
            task.cancelling = True
            self._process.cancel(task.number)
            self.changed.emit()

    def _heard(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "ended":
            lost, self._tasks = list(self._tasks.values()), {}
            if lost and not any(task.cancelling for task in lost):
                reason = event["reason"]
                self._controller.notified.emit(
                    f"The helping process ended unexpectedly ({reason}); try again.", "error"
                )
            if lost:
                self.changed.emit()
            return
        task = self._tasks.get(event.get("run", -1))
        if task is None:
            return
        if kind == "progress":
            task.share = float(event["share"])
        elif kind == "result":
            task.then(event["result"])
        elif kind in ("failed", "done"):
            del self._tasks[task.number]
            if kind == "failed":
                self._controller.notified.emit(event["sentence"], "error")
        self.changed.emit()

    def close(self) -> None:
        """Stop everything."""
        self._tasks = {}
        self._process.close()
