"""`stp-etl db`: the schema of the database, the rights in it, and a shell on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etl.app import App
from etl.cli.context import invocation, noun
from etl.cli.options import FOUND_SOMETHING, reason_given
from etl.cli.output import Format, FormatOption, remark, show, show_card
from etl.controls.retention import Kept, Retention
from etl.domain.words import counted
from etl.errors import OperatorError, SchemaError
from etl.store import grants, schema
from etl.store.shell import run_psql

cli = noun("Look after the database: schema, rights, a shell.")
FAILED = 1
DaemonRoleOption = Annotated[
    str | None, typer.Option("--daemon-role", metavar="ROLE", help="Also let this role poll and book.")
]


@cli.command(epilog="Example: stp-etl db upgrade --daemon-role stp_etl")
def upgrade(context: typer.Context, daemon_role: DaemonRoleOption = None) -> None:
    """Apply the migrations that are missing; running it again changes nothing.

    With --daemon-role it gives out the rights of `db grants` too, which new tables need.
    """
    with App(invocation(context).database_settings) as app:
        app.database.check_server()
        with app.database.connect() as connection:
            grants.check_owner(connection)
            if daemon_role is not None:
                grants.check_role(connection, daemon_role)
            before, after = schema.upgrade(connection)
            without_role = not grants.role_exists(connection)
            if daemon_role is not None:
                reading = [] if without_role else grants.reporting_grants(connection, create=False)
                grants.grant(connection, reading + grants.daemon_grants(connection, daemon_role))
            by_hand = grants.reporting_grants(connection, create=True) if without_role else []
    remark(f"the schema was at {before or 'nothing'} and is at {after}" if before != after else f"already at {after}")
    if daemon_role is not None:
        remark(f"the role {daemon_role} may poll and book")
    if by_hand:
        remark(f"the role {grants.REPORTING_ROLE} is missing and this user may not create it; have an owner run:")
        typer.echo("".join(f"{statement};\n" for statement in by_hand), nl=False)


@cli.command(epilog="Example: stp-etl db check")
def check(context: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """Tell whether trades may be trusted to the database: version, durability, schema; exit 3 when not."""
    faults: list[str] = []
    with App(invocation(context).database_settings) as app:
        try:
            app.database.check_server()
        except OperatorError as error:
            faults.append(str(error))
        with app.database.connect() as connection:
            facts: dict[str, object] = {
                "database": app.database.url.set(drivername="postgresql").render_as_string(hide_password=True),
                "embedded": app.embedded is not None,
                "server": grants.server_settings(connection),
                "schema": schema.current_revision(connection),
                "expected schema": schema.expected_revision(),
                f"role {grants.REPORTING_ROLE}": grants.role_exists(connection),
            }
            try:
                schema.check(connection)
            except SchemaError as error:
                faults.append(str(error))
    show_card(facts | {"sound": not faults}, fmt)
    for fault in faults:
        remark(fault)
    if faults:
        raise typer.Exit(FOUND_SOMETHING)


@cli.command("grants", epilog="Example: stp-etl db grants --daemon-role stp_daemon --print")
def grant(
    context: typer.Context,
    daemon_role: DaemonRoleOption = None,
    print_only: Annotated[bool, typer.Option("--print", help="Write the SQL, run nothing.")] = False,
) -> None:
    """Let the role stp_reporting read the reports; run it as the owner of the schema, again after each upgrade.

    The daemon's role may add what it landed and booked and never change it.
    """
    with App(invocation(context).database_settings) as app, app.database.connect() as connection:
        schema.check(connection)
        missing = not grants.role_exists(connection)
        statements = grants.reporting_grants(connection, create=missing)
        if daemon_role is not None:
            if not print_only:
                grants.check_role(connection, daemon_role)
            statements += grants.daemon_grants(connection, daemon_role)
        if not print_only:
            grants.check_owner(connection)
            grants.grant(connection, statements)
    typer.echo("".join(f"{statement};\n" for statement in statements), nl=False)
    remark("nothing was run" if print_only else f"{counted(len(statements), 'statement was', 'statements were')} run")


@cli.command(epilog="Example: stp-etl db retain --dry-run")
def retain(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go and why, change nothing.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")] = "settings [retention]",
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Let go what is older than the settings [retention] say; run it as the owner of the schema, say once a week.

    A month of answers and messages is detached first and dropped `detached_days` later. Nothing goes that waits for
    booking, or that an open gap, break or exception item needs; the result names the reason. Trades never go.
    """
    given = invocation(context)
    with App(given.database_settings) as app:
        app.check_database()
        with app.database.connect() as connection:
            grants.check_owner(connection)
        retention = Retention(Kept(**app.settings.retention.model_dump(exclude_unset=False)), app.open_work, app.clock)
        plan = retention.plan()
        rows = []
        for piece in plan:
            done = piece.action.lets_go and not dry_run
            gone = retention.carry_out(piece, operator=given.operator, reason=reason_given(reason)) if done else 0
            rows.append((piece.what, piece.action, piece.rows, gone, piece.why))
    show(rows, ("what", "action", "about_rows", "gone", "why"), fmt)
    remark("nothing was changed" if dry_run else "what went is in: stp-etl audit list")


@cli.command(
    epilog="Example: stp-etl db shell -- -c 'SELECT * FROM reporting.feed_status'",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def shell(context: typer.Context) -> None:
    """Open psql on the configured database, the embedded one too; further arguments go to psql."""
    with App(invocation(context).database_settings) as app:
        spare = Path(app.settings.database.data_dir)
        code = run_psql(app.database, context.args, app.embedded, spare)
    if code:
        raise typer.Exit(FAILED)
