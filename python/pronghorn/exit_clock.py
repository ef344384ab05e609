"""The clock that ends a process whose application does not let it end.

Started by the first signal, it bounds what requests may take, whatever they do to the event loop.
It stands still while the application's lifespan shuts down, which may take as long as it needs. It
goes on for threads that hold up the interpreter's end, where that is all that follows. The rule:
with the lifespan's time left out, such a process is gone once the time that it got is over.
"""

import time

from pronghorn._engine import ExitTimer, exit_after

REST_S_MIN = 0.1
"""The interpreter's end gets so much in any case."""


class ExitClock:
    """Ends the process by a signal, without the interpreter, when its time is over."""

    def __init__(self) -> None:
        self._is_running = True
        self._timer: ExitTimer | None = None
        self._signal = 0
        self._left_s = 0.0
        self._started_at = 0.0

    def start(self, left_s: float, signal: int) -> None:
        """Begin to count, at once or when the clock goes on."""
        self._left_s, self._signal = left_s, signal
        if self._is_running:
            self._set_timer()

    def stop(self) -> None:
        """Stand still; may be called again."""
        self._is_running = False
        if self._timer:
            self._timer.cancel()
            self._timer = None
            self._left_s -= time.monotonic() - self._started_at

    def go_on(self) -> None:
        """Count on what is left, if the clock has been started."""
        self._is_running = True
        if self._signal and not self._timer:
            self._set_timer()

    def _set_timer(self) -> None:
        self._started_at = time.monotonic()
        self._timer = exit_after(max(self._left_s, REST_S_MIN), self._signal)
