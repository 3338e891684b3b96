"""What `stp-etl status` says that a person has to do about a feed, each as a sentence with the next step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from etl.app import App
from etl.cli.output import instant
from etl.domain.words import counted
from etl.store.repositories.lists import Listed

LONG_POLLS = 10  # missed polls
LONG_AT_LEAST_S = 120.0
USUAL_INTERVAL_S = 5.0
START = "start the daemon: stp-etl run"


def needs_of(app: App, row: Listed, escalated: Sequence[Listed]) -> Iterator[str]:
    """Yield what a person has to do about the feed of this row, worst first; `escalated` are its escalated gaps."""
    if row["other_database"] is not None:
        yield _another_database(row["feed"])
    else:
        yield from _leading(app, row)
    yield from _lost(row, escalated)
    yield from _booking(row)
    if row["paused_until"] is not None and row["paused_until"] < app.clock.now():
        yield f"paused longer than planned; resume it: stp-etl feeds resume {row['feed']} --reason TEXT"


def _another_database(name: str) -> str:
    return (
        "this database is not the one that it was pulled into; nothing is asked of the vendor. "
        f"Restored from a backup: stp-etl gaps open --feed {name} --restored-from INSTANT --reason TEXT; nothing "
        f"missing in it: stp-etl feeds adopt-database {name} --reason TEXT"
    )


def _leading(app: App, row: Listed) -> Iterator[str]:
    """Yield that nobody leads the feed, or that its leader does not get on; a paused one needs no leader."""
    if row["leader"] is None and row["holder"] is not None:
        yield f"{row['holder']} led it since {instant(row['taken_at'])} and is gone without a word; {START}"
    elif row["paused_at"] is not None:
        return
    elif row["leader"] is not None and row["refused"] is not None:
        yield f"{row['leader']} leads it and cannot poll since {instant(row['refused_at'])}: {row['refused']}"
    elif row["last_poll_at"] is None:
        yield f"never polled; {START}" if row["leader"] is None else f"never polled{_although(row)}"
    elif row["leader"] is None:
        yield f"stopped, last polled {instant(row['last_poll_at'])}; trades wait in the vendor's queue; {START}"
    elif (last := _long_silent_since(app, row)) is not None:
        yield f"no good poll since {instant(last)}{_although(row)}"


def _although(row: Listed) -> str:
    return f" although {row['leader']} leads it; its log says why"


def _long_silent_since(app: App, row: Listed) -> datetime | None:
    """Return when the vendor last gave a good answer, where that is long ago for the feed's interval."""
    good = [at for at in (row["last_empty_at"], row["last_trade_at"]) if at is not None]
    last: datetime = max(good, default=row["last_poll_at"])  # before the first good poll: its last try
    given = app.settings.feeds.get(row["feed"])
    interval_s = given.poll_interval_s if given is not None else USUAL_INTERVAL_S
    long = timedelta(seconds=max(LONG_AT_LEAST_S, LONG_POLLS * interval_s))
    return last if app.clock.now() - last > long else None


def _lost(row: Listed, escalated: Sequence[Listed]) -> Iterator[str]:
    """Yield what may have been lost, and where asking again does not settle it."""
    left_open = row["leader"] is None and row["open_poll_since"] is not None
    if left_open:
        yield (
            f"a poll was left open at {instant(row['open_poll_since'])}: what it carried may be lost; the next start "
            "opens its gap: stp-etl run"
        )
    if doubts := row["in_doubt_polls"] - left_open:
        yield f"{counted(doubts, 'poll')} in doubt without a gap; {_opened_by(row)}"
    if row["open_gaps"]:
        yield f"{counted(row['open_gaps'], 'gap')} not healed; see: stp-etl gaps list --feed {row['feed']}"
    for gap in escalated:
        yield f"gap {gap['gap_id']} is escalated: {_settled_by(gap)}"
    if row["second_consumer_since"] is not None:
        yield (
            "sweeps find lost trades that no poll in doubt explains, since "
            f"{instant(row['second_consumer_since'])}: does somebody else use the download user? See: "
            f"stp-etl gaps list --cause sweep --feed {row['feed']}"
        )


def _opened_by(row: Listed) -> str:
    if row["leader"] is None:
        return "the next start opens it: stp-etl run"
    return f"{row['leader']} opens it as it takes the feed over; where it stays, its log says why"


def _settled_by(gap: Listed) -> str:
    close = f"stp-etl gaps close {gap['gap_id']} --reason TEXT"
    if gap["wanted_from"] is not None:  # its reason names the command that approves
        return f"{gap['why']}; or close it: {close}"
    days = f"--from {gap['from_date']} --to {gap['to_date']}"
    return (
        f"{gap['why'] or 'asking again did not settle it'}; look: stp-etl gaps show {gap['gap_id']}; when the reason "
        f"is gone: stp-etl resend --feed {gap['feed']} {days} --reason TEXT, then: {close}"
    )


def _booking(row: Listed) -> Iterator[str]:
    """Yield what waits for a person before it is booked, and where the book and the vendor differ."""
    name = row["feed"]
    if row["held_at"] is not None:
        yield (
            f"booking waits since {instant(row['held_at'])}: {row['held_reason']}; look, then: "
            f"stp-etl feeds resume {name} --reason TEXT"
        )
    if row["open_exceptions"]:
        yield f"{counted(row['open_exceptions'], 'open exception item')}; see: stp-etl exceptions list --feed {name}"
    if row["open_breaks"]:
        breaks = counted(row["open_breaks"], "open break")
        yield f"{breaks} that nobody accepted; see: stp-etl breaks list --feed {name}"
