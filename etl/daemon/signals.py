"""Signals: noted when they come, acted on by the main loop, so that no handler ever waits for a lock."""

from __future__ import annotations

import select
import signal
import socket
from types import FrameType, TracebackType

STOP = frozenset({signal.SIGTERM, signal.SIGINT})
RELOAD = signal.SIGHUP


class Signals:
    """Takes SIGTERM, SIGINT and SIGHUP while it is entered, from the main thread; the main loop waits here.

    Afterwards they are ignored: the process is about to end, and a second SIGTERM must not turn its exit code.
    """

    def __init__(self) -> None:
        self._came: list[int] = []

    def __enter__(self) -> Signals:
        self._ear, self._bell = socket.socketpair()
        for end in (self._ear, self._bell):
            end.setblocking(False)
        self._bell_before = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        for number in (*STOP, RELOAD):
            signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number in (*STOP, RELOAD):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._bell_before)
        self._ear.close()
        self._bell.close()

    def wait(self, seconds: float) -> set[int]:
        """Wait until a signal comes, or so many seconds; return the signals that came since the last call."""
        if not self._came and select.select([self._ear], [], [], seconds)[0]:
            self._ear.recv(4096)
        came, self._came = self._came, []
        return set(came)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._came.append(number)
