"""The vendor played on loopback, from the command line."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from etl.cli.output import remark
from etl.errors import EtlError
from etl.sandbox.options import Options, User
from etl.sandbox.server import serve

cli = typer.Typer(add_completion=False)
PASSWORD = "STP_SANDBOX_PASSWORD"
WRONG_USAGE = 2


@cli.command("sandbox", epilog="Example: stp-etl sandbox --port 8081 --trades 500 --rate 2")
def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on loopback; 0 takes a free one.")] = 8081,
    seed: Annotated[int, typer.Option(help="The same seed plays the same world.")] = 1,
    trades: Annotated[int, typer.Option(help="Trades that wait in the queue at the start.")] = 2000,
    rate: Annotated[float, typer.Option(help="Trades a second that are executed while it runs.")] = 0.0,
    user: Annotated[str, typer.Option(help="The download user.")] = User.name,
    org: Annotated[str, typer.Option(help="The user's organisation.")] = User.org,
    variant: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE: another reading of the vendor's documents; may be repeated.")
    ] = None,
    fault_rate: Annotated[float, typer.Option(help="Probability that a request meets a fault.")] = 0.0,
) -> None:
    """Play the vendor for trying out, tests and users without credentials: prints its address, runs until Ctrl-C.

    The password is `sandbox` unless STP_SANDBOX_PASSWORD says otherwise. The page /_sandbox/ of its address lists
    what it can be asked and told, such as trades and faults: `curl http://127.0.0.1:8081/_sandbox/` shows it.
    """
    settings = dict(each.partition("=")[::2] for each in variant or ())
    options = Options(
        port=port, seed=seed, trades=trades, rate=rate, fault_rate=fault_rate, settings=settings,
        users=(User(name=user, org=org, password=os.environ.get(PASSWORD, User.password)),),
    )  # fmt: skip
    try:
        options.check()
    except ValueError as error:
        remark(f"stp-etl sandbox: {error}")
        raise typer.Exit(WRONG_USAGE) from error
    try:
        serve(options)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise EtlError(f"port {port} cannot be used: {why}; name another with --port (0 takes a free one)") from error
