"""What one call of the command line was given, and what its commands may ask for."""

from __future__ import annotations

import getpass
import os
import sys
from functools import cached_property
from pathlib import Path

import typer

from etl import log
from etl.cli.output import remark
from etl.config import Settings, load
from etl.domain.fields import CANONICAL_NAMES


class Invocation:
    """One call of `stp-etl`; settings are read when a command first asks for them."""

    def __init__(self, config_path: Path | None = None, *, debug: bool = False) -> None:
        self.config_path = config_path
        self.debug = debug

    @cached_property
    def settings(self) -> Settings:
        """Return the settings, with their warnings said and the log set up as they want it; raise ConfigError."""
        settings = self.read_settings()
        for warning in settings.warnings:
            remark(f"warning: {warning}")
        # A command talks by its results and remarks; `run` sets the level that the settings want.
        log.configure("debug" if self.debug else "warning", settings.ops.log_format, sys.stderr)
        return settings

    def read_settings(self) -> Settings:
        """Return the settings as they stand in file and environment now; raise ConfigError."""
        return load(self.config_path, os.environ, field_names=CANONICAL_NAMES)

    @cached_property
    def database_settings(self) -> Settings:
        """Return the settings without the feeds, whose secrets need not be at hand; raise ConfigError."""
        return load(self.config_path, os.environ, feeds=False)

    @property
    def operator(self) -> str:
        """Return who is at the keyboard, for the audit: the person behind sudo, else the login name."""
        return os.environ.get("SUDO_USER") or login_name()


def login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id need not have a name
        return f"uid {os.getuid()}"


def invocation(context: typer.Context) -> Invocation:
    """Return what this call was given."""
    return context.ensure_object(Invocation)


def noun(help_text: str) -> typer.Typer:
    """Return the group of a noun's verbs; it stays a group while it has one verb only."""
    group = typer.Typer(help=help_text, no_args_is_help=True, add_completion=False)

    @group.callback()
    def verbs() -> None:
        pass

    verbs.__doc__ = help_text
    return group
