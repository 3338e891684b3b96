"""The daemon: from the start, however long the database lets it wait, to the orderly stop."""

from __future__ import annotations

import os
from collections.abc import Callable

from etl.app import App
from etl.config import Settings
from etl.daemon.life import HEARTBEAT_S, Daemon
from etl.daemon.pages import pages
from etl.daemon.signals import Signals
from etl.daemon.systemd import ServiceManager

__all__ = ["run"]


def run(app: App, read_settings: Callable[[], Settings]) -> None:
    """Poll and book every feed until a SIGTERM or SIGINT; then land and book what is in hand, and return.

    SIGHUP takes the settings that `read_settings` returns. Waits for a database that is not there yet. Raises
    OperatorError, ConfigError where a person has to act, OSError where the pages cannot be served.
    """
    manager = ServiceManager.from_environment(os.environ)
    with Signals() as signals, pages(app, HEARTBEAT_S):
        Daemon(app, signals, manager, read_settings).live()
