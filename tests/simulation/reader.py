"""A reader of the incremental feed against the real daemon: kills, several feeds, rebooking, and what it must see."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from itertools import count
from pathlib import Path
from threading import Event, Thread

from etl.clock import SystemClock
from etl.domain.fields import Reading
from etl.pipeline.batch import BookedFeed
from etl.pipeline.rebook import Rebooker
from etl.sandbox.options import Options
from etl.sandbox.process import SandboxProcess
from etl.store.database import Database
from etl.store.repositories.attention import Deed
from etl.store.unit_of_work import work_on
from tests.acceptance.program import Program, feed_text, settings_text, until
from tests.databases import rows
from tests.simulation.worlds import QUICK, VENDOR

FEEDS = ("north", "south", "west")
AFTER = "SELECT change_seq, feed, trade_id, version FROM reporting.trade_version WHERE change_seq > :last"
CURRENT = "SELECT feed, trade_id, version, change_seq FROM reporting.trade WHERE change_seq > :last ORDER BY change_seq"
ALL = "SELECT change_seq, feed, trade_id, version FROM reporting.trade_version ORDER BY change_seq"
Seen = tuple[int, str, str, int]


class Reader(Thread):
    """Remembers the last number that it saw, and asks for what is greater, as fast as it can."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self._database, self.over = database, Event()
        self.seen: list[Seen] = []
        self.current: dict[tuple[str, str], int] = {}
        self.looks = 0

    def run(self) -> None:
        while not self.over.is_set():
            self.look()
            time.sleep(0.001)

    def look(self) -> None:
        """Ask once."""
        last = self.seen[-1][0] if self.seen else 0
        newest = max(self.current.values(), default=0)
        found = rows(self._database, f"{AFTER} ORDER BY change_seq LIMIT 7", last=last)
        self.seen += [(row[0], row[1], row[2], row[3]) for row in found]
        for feed, trade_id, _, change_seq in rows(self._database, CURRENT, last=newest):
            self.current[feed, trade_id] = change_seq
        self.looks += 1

    def catch_up(self) -> None:
        """Stop, and ask until nothing is newer."""
        self.over.set()
        self.join()
        before = -1
        while before != len(self.seen):
            before = len(self.seen)
            self.look()


def faults(reader: Reader, database: Database) -> list[str]:
    """Return what the reader missed, saw twice or out of order."""
    truth: Sequence[Seen] = [(row[0], row[1], row[2], row[3]) for row in rows(database, ALL)]
    numbers = [each[0] for each in reader.seen]
    found = []
    if numbers != sorted(set(numbers)):
        found.append("numbers were seen twice or out of order")
    if missed := set(truth) - set(reader.seen):
        found.append(f"missed {len(missed)} of {len(truth)}: {sorted(missed)[:5]}")
    if invented := set(reader.seen) - set(truth):
        found.append(f"saw {len(invented)} that are not there any more: {sorted(invented)[:5]}")
    current = {
        (row[0], row[1]): row[2] for row in rows(database, "SELECT feed, trade_id, change_seq FROM reporting.trade")
    }
    if reader.current != current:
        found.append("the current versions are not the last ones that were seen")
    return found


class Desk(Thread):
    """A person who reads booked messages again and again, each time under another reading: newer versions."""

    def __init__(self, database: Database) -> None:
        super().__init__(daemon=True)
        self._open_work, self.over = work_on(database), Event()
        self.corrected = 0

    def run(self) -> None:
        for turn in count():
            if self.over.wait(0.05):
                return
            self._read_again(Reading(non_deliverable_assets=frozenset({"EUR"} if turn % 2 else ())), FEEDS[turn % 3])

    def _read_again(self, reading: Reading, feed: str) -> None:
        with self._open_work() as work:
            numbers = {name: number for number, name in work.feeds.names().items()}
            if feed not in numbers:
                return
            ids = work.rebooking.of_trade_days(numbers[feed], date(2000, 1, 1), date(2100, 1, 1))[-30:]
        rebooker = Rebooker(BookedFeed(numbers[feed], feed, reading), self._open_work, SystemClock())
        done = rebooker.rebook(ids, Deed(SystemClock().now(), "olga", "messages rebook", "another reading"))
        self.corrected += done.counts["corrected"]


def read_through_kills(folder: Path, database_url: str, *, kills: int, seed: int) -> tuple[Reader, Desk, list[str]]:
    """Let the daemon book three feeds and a person read them again, kill it `kills` times, and judge the reader."""
    database, chance = Database(database_url), random.Random(seed)
    with ExitStack() as stack:
        stack.callback(database.close)
        sandboxes = {
            name: stack.enter_context(SandboxProcess(Options(seed=seed + place, trades=200, rate=20, **VENDOR)))
            for place, name in enumerate(FEEDS)
        }
        feeds = [feed_text(each.url, each.user, name, **QUICK) for name, each in sandboxes.items()]
        booking = "[booking]\nbatch_kib = 4\nbook_every_s = 0.1"
        program = Program(folder, settings_text(database_url, *feeds, ops=booking))
        reader, desk = Reader(database), Desk(database)
        reader.start()
        desk.start()
        try:
            for _ in range(kills):
                kill_one(program, reader, chance)
        finally:
            desk.over.set()
            desk.join()
            reader.catch_up()
        return reader, desk, faults(reader, database)


def kill_one(program: Program, reader: Reader, chance: random.Random) -> None:
    """Run the daemon until it has booked something, and kill it a moment later."""
    with program.daemon() as daemon:  # starting takes long where the machine has much to do
        until(
            lambda: daemon.events("daemon.started") or daemon.process.poll() is not None,
            what="the daemon",
            within_s=100,
        )
        before = len(reader.seen)
        until(lambda: len(reader.seen) > before, what="something to be booked")
        time.sleep(chance.uniform(0, 0.8))
        daemon.kill()
