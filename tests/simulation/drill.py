"""SIGTERM, twice in a row, at random instants, with the database there and away: the daemon ends in order each time.

python -m tests.simulation.drill --runs 50 --seed 1     (or: make drill RUNS=50 SEED=1)

Each run must end with exit code 0 within the grace period. Where the database could be reached, the run leaves no poll
in doubt, or without an outcome. After the last run everything that the vendor handed out is in the book.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import Daemon, until
from tests.databases import SETTINGS, folder, rows
from tests.leftovers import server_ends_with_us
from tests.simulation.worlds import World, patiently, world

GRACE_S = 3.0
LATE_S = 30.0  # beyond the grace period: a loaded machine is slow
LONGEST_DELAY_S = 1.5
EVERY_NTH_AWAY = 4  # run
HEAL_WITHIN_S = 240.0


@dataclass
class Drilled:
    """What the runs came to."""

    runs: int = 0
    away: int = 0
    """Runs in which the database was away at the SIGTERM."""
    in_flight: int = 0
    """Runs in which a poll was under way at the SIGTERM."""
    slowest_s: float = 0.0
    handed_out: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether all of it ended as it must."""
        return self.runs > 0 and self.handed_out > 0 and not self.wrong


def drill(place: Path, server: EmbeddedPostgres, *, runs: int, seed: int) -> Drilled:
    """Play the runs in one world, let what is in doubt heal, and compare the book with the vendor's log."""
    draw, done = Random(f"drill/{seed}"), Drilled()
    given = {
        "seed": seed,
        "trades": 300,
        "rate": 6.0,
        "page_size": 5,
        "read_timeout_s": 20.0,
        "resend_days_at_once": 31,
    }
    with world(place, server.url, **given) as here:
        text = here.program.file.read_text()
        here.program.file.write_text(text.replace("[ops]", f"[ops]\nshutdown_grace_s = {GRACE_S}"))
        known: set[int] = set()  # polls whose doubt is the work of a database that was away
        for number in range(1, runs + 1):
            away = number % EVERY_NTH_AWAY == 0
            _one_run(here, server, draw, done, away=away)
            known = _look(here, done, known, away=away)
        took, findings = here.heal_and_judge(within_s=HEAL_WITHIN_S)
        done.handed_out = findings.handed_out
        if not findings.holds:
            done.wrong.append(f"after {took:.0f} s of healing: {findings}")
    return done


def _one_run(here: World, server: EmbeddedPostgres, draw: Random, done: Drilled, *, away: bool) -> None:
    delay = {"fault": "delay", "delay_s": round(draw.uniform(0.05, LONGEST_DELAY_S), 3), "nth": draw.choice((1, 2, 5))}
    patiently(lambda: here.sandbox.control.plan({**delay, "endpoint": "messages"}))
    alive_s, between_s = draw.uniform(0, 3), draw.uniform(0, 0.4)
    with here.daemon() as daemon:
        until(lambda: daemon.events("ops.listening") or daemon.process.poll() is not None, what="the first line")
        time.sleep(alive_s)
        if away:
            server.stop("immediate")
            time.sleep(draw.uniform(0, 0.5))
        else:
            done.in_flight += bool(rows(here.database, "SELECT FROM stp.current_poll WHERE outcome IS NULL"))
        done.slowest_s = max(done.slowest_s, _end(daemon, between_s, done, away=away))
    if away:
        server.start()
        done.away += 1
    done.runs += 1
    here.sandbox.control.clear_faults()


def _end(daemon: Daemon, between_s: float, done: Drilled, *, away: bool) -> float:
    """Send SIGTERM twice; return the seconds until the end."""
    started = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    time.sleep(between_s)
    if daemon.process.poll() is None:
        daemon.process.send_signal(signal.SIGTERM)
    code = daemon.process.wait(GRACE_S + LATE_S)
    if code != 0:
        where = "while the database was away" if away else "with the database there"
        done.wrong.append(f"run {done.runs + 1} ended with {code} {where}:\n{daemon.said[-3000:]}")
    return time.monotonic() - started


def _look(here: World, done: Drilled, known: set[int], *, away: bool) -> set[int]:
    """Note what the run left in doubt; return the polls whose doubt is explained by a database that was away."""
    here.database.close()  # its connections may be those of a server that is gone
    left_open = {each for (each,) in rows(here.database, "SELECT poll_id FROM stp.current_poll WHERE outcome IS NULL")}
    in_doubt = {each for (each,) in rows(here.database, "SELECT id FROM stp.poll WHERE outcome = 'in_doubt'")}
    if away:
        return known | left_open | in_doubt
    if left_open:
        done.wrong.append(f"run {done.runs} left a poll without an outcome: {left_open}")
    if in_doubt - known:
        done.wrong.append(f"run {done.runs} left polls in doubt: {in_doubt - known}")
    return known | in_doubt


@contextmanager
def own_server() -> Iterator[EmbeddedPostgres]:
    """Lend a server that may be stopped at will, with the schema in its database."""
    with folder() as place:
        server = EmbeddedPostgres(place / "pg", settings=SETTINGS)
        database = Database(server.start())
        with database.connect() as connection:
            schema.upgrade(connection)
        database.close()
        try:
            with server_ends_with_us(server.data_dir):
                yield server
        finally:
            server.stop("immediate")


def main() -> None:
    """Read the command line, drill, and say what came of it."""
    parser = argparse.ArgumentParser(prog="drill", description="SIGTERM at random instants; the daemon ends in order.")
    parser.add_argument("--runs", type=int, default=50, help="daemons to end (default 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the world and the instants (default 1)")
    given = parser.parse_args()
    started = time.monotonic()
    with own_server() as server, tempfile.TemporaryDirectory(prefix="stp-drill-") as place:
        done = drill(Path(place), server, runs=given.runs, seed=given.seed)
    for fault in done.wrong:
        print(f"FAILED: {fault}")
    print(f"daemons ended by SIGTERM           {done.runs}, {done.away} of them with the database away")
    print(f"with a poll under way              {done.in_flight}")
    print(f"slowest end                        {done.slowest_s:.1f} s (grace period {GRACE_S:g} s)")
    print(f"trades handed out                  {done.handed_out}")
    print(f"wrong                              {len(done.wrong)}")
    print(f"took                               {time.monotonic() - started:.0f} s")
    sys.exit(int(not done.holds))


if __name__ == "__main__":
    main()
