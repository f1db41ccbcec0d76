"""Graceful stop: SIGTERM from a scheduler or Ctrl-C is noted and obeyed at the end of a step."""

from __future__ import annotations

import signal
import threading

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Notes the first stop signal. `signal_name` is "" until then. A second signal gets the previous handler.

    Only the main thread can handle signals; in another thread this object does nothing.
    """

    def __init__(self):
        self.signal_name = ""
        self._handlers: dict = {}
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, _frame) -> None:
        self.signal_name = signal.Signals(number).name
        self.restore_handlers()

    def restore_handlers(self) -> None:
        """Put the previous signal handlers back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
