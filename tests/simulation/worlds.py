"""One world: the sandbox as vendor, a database, the real daemon, and the way from the last kill to the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import text

from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store.database import Database
from tests.acceptance.program import PATIENCE_S, Daemon, Program, feed_text, settings_text
from tests.databases import rows
from tests.simulation.oracle import Ask, Findings, compare

# Short, so that healing takes seconds; the vendor keeps to them, as A12 and A22 say that a real one does.
GHOST_S = 1.5
LONGEST_GHOST_S = 1.0
QUICK: Mapping[str, Any] = {
    "poll_interval_s": 0.2, "read_timeout_s": 1.2, "ghost_s": GHOST_S, "eligible_after_s": 0.3,
    "error_pause_min_s": 0.1, "error_pause_max_s": 0.5, "history_days": 4, "resend_budget_per_day": 100_000,
}  # fmt: skip
VENDOR: Mapping[str, Any] = {"days_back": 4, "eligible_after_s": 0.1}
LOOK_EVERY_S = 0.1
PORT_CLOSED_S = 5.0


class NotHealedError(AssertionError):
    """The world did not come to rest, or the daemon ended by itself."""


Said = TypeVar("Said")


def patiently(ask: Callable[[], Said]) -> Said:
    """Ask the sandbox's control endpoints, whose port a fault may have closed for a while."""
    until_at = None
    while True:
        try:
            return ask()
        except OSError:
            until_at = until_at or time.monotonic() + PORT_CLOSED_S
            if time.monotonic() > until_at:
                raise
            time.sleep(0.02)


@dataclass(frozen=True)
class World:
    """A running vendor, a database, and the program set up for both."""

    sandbox: SandboxProcess
    database: Database
    program: Program

    @contextmanager
    def daemon(self) -> Iterator[Daemon]:
        """Run the real daemon."""
        with self.program.daemon() as running:
            yield running

    def ask(self, question: str) -> list[Mapping[str, Any]]:
        """Return what the database answers, by column."""
        with self.database.connect() as connection:
            return asker(connection)(question)

    def value(self, question: str) -> Any:
        """Return the one value that the database answers."""
        return rows(self.database, question)[0][0]

    def heal(self, daemon: Daemon, *, within_s: float = PATIENCE_S) -> float:
        """Wait until nothing is in doubt, no gap is unfinished and all is booked; return the seconds that took.

        The queue is proven empty once more by then: what still waited in it is asked for too.
        """
        started, empty_at = time.monotonic(), self._last_empty_at()
        # Taken: what was left open is covered.
        while not (daemon.events("lease.taken") and self._last_empty_at() != empty_at and self._is_at_rest()):
            if daemon.process.poll() is not None:
                raise NotHealedError(f"the daemon ended by itself:\n{daemon.said[-2000:]}")
            if time.monotonic() - started > within_s:
                raise NotHealedError(f"not healed within {within_s:.0f} s: {self._state()}")
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - started

    def verdict(self) -> Findings:
        """Compare the vendor's log with the book."""
        return compare(self.sandbox.control.handed_out(), self.sandbox.control.trades(), self.ask)

    def heal_and_judge(self, *, within_s: float = PATIENCE_S) -> tuple[float, Findings]:
        """Start the daemon once more, let it heal, stop it in order; return the seconds to heal, and the verdict."""
        with self.daemon() as daemon:
            daemon.started()
            try:
                took = self.heal(daemon, within_s=within_s)
            except NotHealedError as error:
                daemon.kill()  # or the book goes on while it is compared
                findings = self.verdict()
                findings.wrong.insert(0, f"{error}; {len(findings.lost)} trades are not in the book yet")
                findings.lost.clear()
                return within_s, findings
            code = daemon.stop()
        findings = self.verdict()
        if code != 0:
            findings.wrong.insert(0, f"the daemon ended with {code} on SIGTERM")
        return took, findings

    def _last_empty_at(self) -> Any:
        found = rows(self.database, "SELECT last_empty_at FROM stp.current_poll")
        return found[0][0] if found else None

    def _is_at_rest(self) -> bool:
        ((state, unbooked),) = rows(self.database, "SELECT state, landed_unbooked FROM reporting.feed_status")
        if state == "gap_escalated":
            raise NotHealedError(f"a gap was escalated: {self._state()}")
        empty_after = "SELECT last_empty_at > coalesce((SELECT max(doubted_at) FROM stp.gap), '-infinity')"
        return state == "polling" and not unbooked and self.value(f"{empty_after} FROM stp.current_poll") is True

    def _state(self) -> str:
        gaps = self.ask("SELECT gap_id, from_date, to_date, state, why FROM reporting.gap WHERE state <> 'healed'")
        polls = self.ask("SELECT outcome, cause, detail FROM stp.poll ORDER BY id DESC LIMIT 3")
        return f"gaps {[dict(each) for each in gaps]}, last polls {[dict(each) for each in polls]}"


def asker(connection: Any) -> Ask:
    """Return what answers questions within the transaction of this connection."""
    return lambda question: [dict(row) for row in connection.execute(text(question)).mappings()]


@contextmanager
def world(folder: Path, database_url: str, *, url: str | None = None, **given: Any) -> Iterator[World]:
    """Lend a world. Settings of the feed (`page_size=5`) and options of the sandbox (`trades=90`) are told apart.

    `url`: where the daemon finds the vendor, if not at the sandbox itself; `{}` in it is the sandbox's address.
    """
    names = Options.__dataclass_fields__
    options = {**VENDOR, **{name: value for name, value in given.items() if name in names}}
    keys = {**QUICK, **{name: value for name, value in given.items() if name not in names}}
    with SandboxProcess(Options(**options)) as sandbox:
        feed = feed_text(url or sandbox.url, sandbox.user, **keys)
        database = Database(database_url)
        try:
            yield World(sandbox, database, Program(folder, settings_text(database_url, feed)))
        finally:
            database.close()
