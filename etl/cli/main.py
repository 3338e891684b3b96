"""The command `stp-etl`: its nouns, its global options, and how it ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from etl import log
from etl.cli.context import Invocation, invocation
from etl.cli.output import remark
from etl.cli.streams import Stream
from etl.config import KNOWN_SECRETS
from etl.errors import ConfigError, EtlError, OutputLostError
from etl.ops.build import PROGRAM, installed_version

FAILED, WRONG_SETTINGS = 1, 2

# noun: module under etl.cli whose `cli` (a typer.Typer) is the noun; imported when it is first used
NOUNS: Mapping[str, str] = MappingProxyType(
    {
        "demo": "etl.cli.demo",
        "run": "etl.cli.run",
        "poll": "etl.cli.poll",
        "resend": "etl.cli.resend",
        "gaps": "etl.cli.gaps",
        "resends": "etl.cli.resends",
        "reconcile": "etl.cli.reconcile",
        "breaks": "etl.cli.breaks",
        "balances": "etl.cli.balances",
        "sandbox": "etl.cli.sandbox",
        "status": "etl.cli.status",
        "doctor": "etl.cli.doctor",
        "trades": "etl.cli.trades",
        "messages": "etl.cli.messages",
        "exceptions": "etl.cli.exceptions",
        "incidents": "etl.cli.incidents",
        "feeds": "etl.cli.feeds",
        "alerts": "etl.cli.alerts",
        "certify": "etl.cli.certify",
        "day": "etl.cli.day",
        "audit": "etl.cli.audit",
        "reporting": "etl.cli.reporting",
        "export": "etl.cli.export",
        "publish": "etl.cli.publish",
        "verify": "etl.cli.verify",
        "db": "etl.cli.db",
        "config": "etl.cli.config",
    }
)

Command = TyperCommand | TyperGroup


class LazyCommands(Mapping[str, Command]):
    """The nouns by name; a noun's module is imported when the noun is asked for, so that a start stays fast."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._loaded: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._loaded:
            command: Any = typer.main.get_command(import_module(self._modules[name]).cli)
            command.name = name
            in_plain_text(command)
            self._loaded[name] = command
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


class Nouns(TyperGroup):
    """The root of the command line, whose commands are loaded by noun."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        commands: Any = LazyCommands(NOUNS)  # read like a dict, never written
        self.commands = commands

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the nouns in the order of the list above."""
        return list(self.commands)


def in_plain_text(command: Any) -> None:
    """Let help and usage errors be plain text, which also reads well in a log or a pipe."""
    command.rich_markup_mode = None
    for below in getattr(command, "commands", {}).values():
        in_plain_text(below)


def show_version(wanted: bool) -> None:
    """Print the version and stop."""
    if wanted:
        typer.echo(f"{PROGRAM} {installed_version()}")
        raise typer.Exit


app = typer.Typer(
    name=PROGRAM,
    cls=Nouns,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=f"Example: {PROGRAM} demo",
)


@app.callback()
def start(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings file; else STP_ETL_CONFIG, else the usual places."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Log everything; show where an error came from.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Download FX trades from the Integral STP queue, book them, and prove what is complete."""
    given = invocation(context)
    given.config_path, given.debug = config, debug
    log.configure("debug" if debug else "warning", "auto", sys.stderr)  # until the settings are read


def main() -> None:
    """Run the command line of this process."""
    sys.stdout, sys.stderr = Stream(sys.stdout), Stream(sys.stderr)
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OutputLostError as error:
        report_lost(error)
        code = FAILED
    sys.exit(code)


def run(args: Sequence[str], commands: typer.Typer = app) -> int:
    """Return the exit code: 0 done, 1 failed, 2 wrong usage or settings, 3 the check found something, 130 Ctrl-C."""
    given = Invocation()
    try:
        typer.main.get_command(commands).main(args=list(args), prog_name=PROGRAM, obj=given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED if end.code else 0
    except OutputLostError as error:
        report_lost(error)
        return FAILED
    except OSError as error:  # a port in use, a folder that cannot be written
        remark(f"{PROGRAM}: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
        if given.debug:
            traceback.print_exception(error)
        return FAILED
    except EtlError as error:
        report(error)
        if given.debug:
            remark(KNOWN_SECRETS.redacted("".join(traceback.format_exception(error))))
        return WRONG_SETTINGS if isinstance(error, ConfigError) else FAILED
    return 0


def report_lost(error: OutputLostError) -> None:
    """Say on stderr that what is on stdout is not all of it."""
    remark(f"{PROGRAM}: the output could not be written whole: {(error.strerror or str(error)).lower()}")


def report(error: EtlError) -> None:
    """Say on stderr what went wrong, without a traceback."""
    match error:
        case ConfigError(faults=faults, file=file) if len(faults) > 1:
            remark(f"{PROGRAM}: {len(faults)} faults in the settings{f' of {file}' if file else ''}:")
            for fault in faults:
                remark(f"  {fault}")
        case ConfigError(file=str(file)):
            remark(f"{PROGRAM}: settings of {file}: {error}")
        case _:
            remark(KNOWN_SECRETS.redacted(f"{PROGRAM}: {error}"))


if __name__ == "__main__":
    main()
