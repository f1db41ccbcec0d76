"""Being asked to stop: a scheduler's SIGTERM or Ctrl-C, answered at the end of a step."""

from __future__ import annotations

import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """`name` is the signal that came, "" before. A second one does what it does elsewhere.

    Only the main thread can listen; in another one nothing changes.
    """

    def __init__(self):
        self.name = ""
        self._before: dict = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, _frame) -> None:
        self.name = signal.Signals(number).name
        self.end()

    def end(self) -> None:
        """Signals do from now on what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
