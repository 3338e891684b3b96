"""Standard output and error of a command: a reader that goes away is no failure, output that cannot be kept is one."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, TextIO

from etl.errors import OutputLostError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Raw(io.FileIO):
    """A file descriptor that becomes the null device once nobody reads it, or it takes no more."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write as the parent does; raise OutputLostError where a reader is there, but the bytes cannot reach it."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:  # as with `| head`: the command goes on to its own exit code
            self._end()
            return memoryview(data).nbytes
        except OSError as error:
            self._end()  # or Python complains again while it ends
            raise OutputLostError(error.errno, error.strerror) from error

    def _end(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


class Stream(io.TextIOWrapper):
    """What a command writes its results or remarks to.

    `behind` is the stream in whose place it stands; log lines go there, because the log tells of those that are lost.
    """

    def __init__(self, given: TextIO | None) -> None:
        behind = given or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  as long as the process; `>&-` closed it
        if isinstance(behind, io.TextIOWrapper):
            behind.reconfigure(errors="backslashreplace")
        raw = _Raw(behind.fileno(), "w", closefd=False)
        unbuffered = getattr(behind, "write_through", False)
        lines = getattr(behind, "line_buffering", False) or unbuffered
        super().__init__(io.BufferedWriter(raw), behind.encoding, "backslashreplace", line_buffering=lines)
        self.behind = behind
