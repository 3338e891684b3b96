"""Errors of the vendor, all played at once against one daemon and one sandbox, until each has come to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etl.reconcile import REQUEST
from etl.sandbox import days
from etl.sandbox.options import Options, User
from etl.sandbox.process import Control, SandboxProcess
from etl.store.database import Database
from etl.store.unit_of_work import work_on
from tests.acceptance.program import Program, feed_text, settings_text, until
from tests.acceptance.reconciling import QUICK, with_rules
from tests.databases import rows, value

ALL_THE_TIME = "positions_every_s = 1\nfills_every_s = 1\nbalances_every_s = 1\n"
BREAKS = "SELECT kind, state, trade_id FROM reporting.break WHERE feed = :feed ORDER BY kind, state"
LAST_RUN = """
SELECT run_id, result FROM reporting.reconciliation_run
WHERE feed = :feed AND control = :control AND state <> 'running' ORDER BY run_id DESC LIMIT 1
"""
HEALED = "SELECT FROM reporting.gap WHERE feed = :feed AND state = 'healed' AND recovered > 0"
BOOKED = "SELECT FROM reporting.trade WHERE trade_id = :id AND live"
OF_A_TRADE = ("conflict", "missing_in_book", "missing_at_vendor", "status")
BACKLOG = 5
PATIENCE_S = 100.0


@dataclass(frozen=True)
class End:
    """What must have become of an error; nothing else may have become of it."""

    run: str = "agreed"
    """Result of the last run, which began after the error."""
    control: str = "positions"
    open: tuple[str, ...] = ()
    """Kinds of the breaks that wait for a person or are being looked into; those about one trade name it."""
    cleared: tuple[str, ...] = ()
    """Kinds of the breaks that were open and went with proof."""
    perhaps: tuple[str, ...] = ()
    """Kinds that may have been open on the way, and went with proof; which control looked first decides."""
    healed: bool = False
    """Whether a gap was opened for it, whose resend brought the trade."""
    met: str = "true"
    """Condition in SQL on that run, `r`: the vendor did err as it was told to."""


@dataclass(frozen=True)
class Error:
    """One row of the table: an error in the words of operations, how the sandbox is told, and how it must end."""

    name: str
    tell: Callable[[Case], str | None]
    """Returns the trade that the error is about, where it is one."""
    end: End
    on: str
    """The feed that it is played on, with errors that do not meddle with it and end in the same result."""
    then: tuple[Callable[[Case], str | None], End] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of its feed."""


class Case:
    """An error on its way: a user of the sandbox, and two booked trades on a value date of its own."""

    def __init__(self, error: Error, user: User, number: int, control: Control, database: Database) -> None:
        self.error, self.user, self.control, self.database = error, user, control, database
        self.day = days.business_days_after(datetime.now(UTC).date(), 10 + number).isoformat()
        self.end, self.told, self.seen_before = error.end, None, 0  # type: tuple[End, str | None, int]
        self.trade = self.execute(side="Buy", dealtAmount=1000, rate="1.1")
        self.execute(side="Sell", dealtAmount=200, rate="1.2")

    def execute(self, **content: Any) -> str:
        """Let a trade be done now, on the value date of this case, and return its id."""
        usual = {"symbol": "EUR/USD", "tradeType": "Outright", "valueDate": self.day, "currency": "EUR"}
        return self.control.execute_trades([usual | content], org=self.user.org)[0]

    def order(self) -> str:
        """Return the order of the first trade."""
        statement = "SELECT order_id FROM reporting.trade WHERE trade_id = :id"
        return str(value(self.database, statement, id=self.trade))

    def vary(self, **values: Any) -> None:
        """Let questions of this feed be answered in another form."""
        self.control.variant(org=self.user.org, **values)

    def plan(self, fault: str, **more: Any) -> None:
        """Let a request of this feed meet a fault."""
        self.control.plan({"fault": fault, "user": self.user.name, **more})

    def tell(self, tell: Callable[[Case], str | None]) -> None:
        """Let the vendor err; what ran before does not count any more."""
        self.told = tell(self) or self.told
        self.seen_before = int(value(self.database, "SELECT coalesce(max(id), 0) FROM stp.reconciliation_run"))

    def lacks(self) -> str:
        """Return what is still missing to the end, as words; empty where it is reached."""
        end, feed = self.end, self.error.on
        last = rows(self.database, LAST_RUN, feed=feed, control=end.control)
        run_id, result = last[0] if last else (0, None)
        if run_id <= self.seen_before or result != end.run:
            return f"the last run of {end.control} ended as {result}" if run_id > self.seen_before else "no run since"
        if end.healed and not rows(self.database, HEALED, feed=feed):
            return "no gap has brought a trade and is healed"
        if end.healed and not rows(self.database, BOOKED, id=self.told):
            return f"{self.told} is not booked"
        met = f"SELECT {end.met} FROM reporting.reconciliation_run r WHERE run_id = :id"
        return "" if value(self.database, met, id=run_id) else f"not met: {end.met}"


class Feed:
    """The cases of one feed, whose breaks are theirs and nobody else's."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases, self.database = cases, cases[0].database
        self.name, self.user = cases[0].error.on, cases[0].user
        self.settings = dict(pair for each in cases for pair in each.error.settings.items())

    def go_on(self) -> None:
        """Tell what comes second."""
        for case in self.cases:
            if case.error.then is not None and case.end is case.error.end:
                tell, case.end = case.error.then
                case.tell(tell)

    def lacks(self) -> str:
        """Return what is missing to the ends of all its errors, as words; empty where all are reached."""
        found = rows(self.database, BREAKS, feed=self.name)
        unfinished = sorted((kind, trade) for kind, state, trade in found if state != "cleared")
        cleared = {kind for kind, state, _ in found if state == "cleared"}
        ends = [(each.end, each.told) for each in self.cases]
        wanted = sorted((kind, told if kind in OF_A_TRADE else None) for end, told in ends for kind in end.open)
        gone = {kind for end, _ in ends for kind in end.cleared}
        perhaps = {kind for end, _ in ends for kind in end.perhaps}
        breaks = f"breaks: {found}" if unfinished != wanted or not gone <= cleared <= gone | perhaps else ""
        return "; ".join(filter(None, [breaks, *(f"{e.error.name}: {why}" for e in self.cases if (why := e.lacks()))]))


@contextmanager
def one_daemon(errors: Sequence[Error], folder: Path, database: Database, url: str) -> Iterator[list[Feed]]:
    """Run a daemon with the feeds of these errors, drained and opened at go-live, with nothing told yet."""
    users = {name: User(name, f"secret of {name}", f"{name}Org") for name in dict.fromkeys(each.on for each in errors)}
    with SandboxProcess(Options(trades=BACKLOG, users=tuple(users.values()), eligible_after_s=0)) as sandbox:
        cases = [Case(each, users[each.on], number, sandbox.control, database) for number, each in enumerate(errors)]
        feeds = [Feed([case for case in cases if case.user is user]) for user in users.values()]
        keys = QUICK | {"resend_days_at_once": 31}
        tables = [feed_text(sandbox.url, each.user, each.name, **keys | each.settings) for each in feeds]
        program = Program(folder, settings_text(url, *tables))
        with_rules(program, ALL_THE_TIME)
        with program.daemon() as daemon:
            daemon.started()
            opened(feeds, database)
            yield feeds
            assert daemon.stop() == 0, daemon.said


def opened(feeds: Sequence[Feed], database: Database) -> None:
    """Let the daemon take the vendor's figures as where each book starts, as `stp-etl reconcile --open` asks for it."""
    open_work, numbers = work_on(database), list[int]()
    until(lambda: len(rows(database, "SELECT FROM stp.feed")) == len(feeds), what="the feeds")
    for feed in feeds:
        feed_id = value(database, "SELECT id FROM stp.feed WHERE name = :name", name=feed.name)
        for what in ("positions", *(["balances"] if "balance_assets" in feed.settings else [])):
            with open_work() as work:
                wanted, at = {"what": what, "opening": True}, datetime.now(UTC)
                numbers.append(work.requests.make(feed_id, REQUEST, wanted, by="olga", reason="go-live", at=at))
                work.commit()
    over = "SELECT error, result FROM stp.request WHERE id = ANY (:ids) AND state NOT IN ('requested', 'running')"
    until(lambda: len(rows(database, over, ids=numbers)) == len(numbers), what="go-live", within_s=PATIENCE_S)
    done = rows(database, over, ids=numbers)
    assert {error for error, _ in done} == {None}, done
    assert {each["result"] for _, result in done for each in result["outcomes"]} == {"opened"}, done


def play_all(feeds: Sequence[Feed]) -> None:
    """Tell the sandbox all errors, and wait until each has come to its end, and all ends hold at once."""
    for case in (case for feed in feeds for case in feed.cases):
        case.tell(case.error.tell)
    started = time.monotonic()
    while lacking := {feed.name: why for feed in feeds if (why := feed.lacks())}:
        assert time.monotonic() - started < PATIENCE_S, "\n".join(f"{name}: {why}" for name, why in lacking.items())
        for feed in feeds:
            if feed.name not in lacking:
                feed.go_on()
        time.sleep(0.3)
