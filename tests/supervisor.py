"""A small service manager: it reads what a daemon says on its notify socket, and can tell when the watchdog starves."""

import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType


class Supervisor:
    """The other end of NOTIFY_SOCKET: a path in `folder`, or an abstract address without one."""

    def __init__(self, folder: Path | None = None, *, watchdog_s: float | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"stp-etl-{secrets.token_hex(8)}" if folder is None else str(folder / "notify")
        self._socket.bind(f"\0{name}" if folder is None else name)
        address = f"@{name}" if folder is None else name
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": str(int(watchdog_s * 1_000_000))}
        self.environment = {"NOTIFY_SOCKET": address, **watchdog}
        self._said: list[tuple[float, str]] = []
        self._lock = Lock()

    def __enter__(self) -> "Supervisor":
        Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self) -> None:
        with suppress(OSError):
            while message := self._socket.recv(65536):
                with self._lock:
                    self._said += [(time.monotonic(), line) for line in message.decode().splitlines()]

    @property
    def said(self) -> list[str]:
        """Everything so far, but the food of the watchdog."""
        with self._lock:
            return [line for _, line in self._said if line != "WATCHDOG=1"]

    def states(self) -> list[str]:
        """Return what was said about ready, reloading and stopping."""
        return [line for line in self.said if line.startswith(("READY=", "RELOADING=", "STOPPING="))]

    @property
    def status(self) -> str:
        """The last status line."""
        lines = [line.removeprefix("STATUS=") for line in self.said if line.startswith("STATUS=")]
        return lines[-1] if lines else ""

    def fed(self) -> int:
        """Return how often the watchdog was fed."""
        with self._lock:
            return sum(line == "WATCHDOG=1" for _, line in self._said)

    def starved_s(self) -> float:
        """Return for how long the watchdog was not fed."""
        with self._lock:
            fed = [at for at, line in self._said if line == "WATCHDOG=1"]
        return time.monotonic() - fed[-1] if fed else 0.0
