"""Which version runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PROGRAM = "stp-etl"


def installed_version() -> str:
    """Return the version that is installed, or `uninstalled` when the source is run as it lies."""
    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return "uninstalled"
