"""What a service manager is told over its socket: ready, status, watchdog, reloading, stopping (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

import structlog

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
LONGEST_STATUS = 500  # characters

log = structlog.get_logger()


class ServiceManager:
    """The other end of `NOTIFY_SOCKET`, or nobody; what cannot be sent is dropped: the work comes first."""

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address  # abstract
        self.watchdog_s = watchdog_s if address else None
        """The seconds after which the manager ends a daemon that has not fed its watchdog; None without a watchdog."""
        self._status = ""
        self._failed = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Return the manager that the environment names, and take it out, so that no child speaks in our name."""
        address, given, pid = (environ.pop(name, "") for name in VARIABLES)
        for_us = pid in ("", str(os.getpid()))
        usec = int(given) if given.isdecimal() and for_us else 0
        return cls(address or None, usec / 1_000_000 if usec else None)

    def ready(self) -> None:
        """Say that the daemon works, or works again after a reload."""
        self._tell("READY=1")

    def status(self, text: str) -> None:
        """Say in one line how the daemon stands; said only when it changed."""
        line = " ".join(text.split())[:LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def feed_watchdog(self) -> None:
        """Say that the main loop and the jobs get on."""
        if self.watchdog_s is not None:
            self._tell("WATCHDOG=1")

    def reloading(self, monotonic_s: float) -> None:
        """Say that the settings are read again; `ready` ends it. The time is that of CLOCK_MONOTONIC."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s * 1_000_000)}")

    def stopping(self) -> None:
        """Say that the daemon ends."""
        self._tell("STOPPING=1")

    def more_time(self, seconds: float) -> None:
        """Ask that the start or the stop may take so many seconds more from now."""
        self._tell(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def _tell(self, message: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(1.0)  # a manager that does not read must not hold up the main loop
                channel.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("service_manager.away", error=error.strerror or str(error))
            self._failed = True
        else:
            self._failed = False
