"""`stp-etl alerts`: what people were told, or are to be told, and whether the way to them works."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from etl.chance import new_id
from etl.cli.context import invocation, noun
from etl.cli.options import LimitOption, first_of, ready_app, reason_given
from etl.cli.output import Format, FormatOption, remark, show
from etl.clock import SystemClock
from etl.config import AlertKind
from etl.errors import ConfigError, EtlError
from etl.ops.notify import Sending, target_of
from etl.store.repositories.alerts import ClaimedAlert
from etl.store.repositories.attention import Deed

cli = noun("Look at alerts, and test the way to their receiver.")
LISTED = (
    "id", "at", "feed", "kind", "words", "count", "state", "tries", "not_before", "ended_at", "last_error", "alert_id",
)  # fmt: skip

TRIED = "the way to the receiver is tried"


class AlertState(StrEnum):
    """How far an alert is."""

    WAITING = "waiting"
    SENT = "sent"
    DROPPED = "dropped"


@cli.command("list", epilog="Example: stp-etl alerts list --state waiting")
def list_alerts(
    context: typer.Context,
    kind: Annotated[AlertKind | None, typer.Option("--kind", help="Only of this kind.")] = None,
    state: Annotated[AlertState | None, typer.Option("--state", help="Only those that are so far.")] = None,
    limit: LimitOption = 50,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """List alerts, the newest first; those that nobody was to be told, too."""
    with ready_app(context) as app, app.open_work() as work:
        rows = work.alerts.listed(kind=kind, state=state, limit=limit + 1)
    show(first_of(rows, limit), LISTED, fmt)


@cli.command("test", epilog="Example: stp-etl alerts test")
def send_test(
    context: typer.Context,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is kept in the audit log.")] = TRIED,
) -> None:
    """Send one test alert to the receiver of the settings, now, and say whether it was taken.

    It needs no daemon, and no database but to be kept in the audit log.
    """
    target, clock = target_of(invocation(context).settings.alerts), SystemClock()
    if target is None:
        raise ConfigError(["alerts.url: is not set, so nobody is told; set url or url_file, see config/stp-etl.toml"])
    words = "this is a test: what you see here is how you will be told"
    alert = ClaimedAlert(0, new_id(), "test", None, clock.now(), words, {}, 1, 1)
    sending = Sending(target, alert, clock)
    sending.over.wait(sending.may_take_s)
    error = sending.fault
    _keep_deed(context, reason_given(reason), {"alert_id": alert.alert_id, "taken": error is None, "said": error})
    if error is not None:
        raise EtlError(f"the test alert was not taken: {error}")
    signed = "signed" if target.secret is not None else "not signed: set alerts.secret or secret_file to sign"
    remark(f"the receiver took the test alert ({signed})")


def _keep_deed(context: typer.Context, reason: str, details: Mapping[str, Any]) -> None:
    """Keep in the audit log what was sent; without a database the test is as good, and it is said."""
    operator = invocation(context).operator
    try:
        with ready_app(context) as app, app.open_work() as work:
            work.attention.record(Deed(app.clock.now(), operator, "alerts test", reason, details=details))
            work.commit()
    except EtlError as error:
        remark(f"not kept in the audit log: {error}")
