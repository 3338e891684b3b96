"""`stp-etl resends`: what the vendor was asked to hand out again, and what came."""

from __future__ import annotations

from typing import Annotated

import typer

from etl.cli.context import noun
from etl.cli.options import FeedOption, LimitOption, first_of, known_feed, ready_app
from etl.cli.output import Format, FormatOption, show, show_card
from etl.errors import EtlError

cli = noun("Look at resends.")
LISTED = (
    "resend_id", "feed", "gap_id", "from_date", "to_date", "requested_at", "state", "tries", "received", "recovered",
    "duplicates", "absent", "excused", "request_id", "detail",
)  # fmt: skip


@cli.command("list", epilog="Example: stp-etl resends list --feed main")
def list_resends(
    context: typer.Context, feed: FeedOption = None, limit: LimitOption = 50, fmt: FormatOption = Format.TABLE
) -> None:
    """List resends, the newest first."""
    with ready_app(context) as app, app.open_work() as work:
        rows = work.lists.resends(known_feed(work, feed), limit + 1)
    show(first_of(rows, limit), LISTED, fmt)


@cli.command("show", epilog="Example: stp-etl resends show 7")
def show_resend(
    context: typer.Context,
    resend: Annotated[int, typer.Argument(help="Number of the resend.", metavar="RESEND")],
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Show one resend with its counts."""
    with ready_app(context) as app, app.open_work() as work:
        rows = work.lists.resends(None, 1, resend_id=resend)
    if not rows:
        raise EtlError(f"there is no resend {resend}; see: stp-etl resends list")
    show_card(rows[0], fmt)
