"""A day at ten times the usual volume, fifty times as fast: memory, descriptors, connections and tables stay flat.

python -m tests.simulation.soak --minutes 29     (or: make soak; make soak MINUTES=2)

Usual is taken to be 10,000 trades a day. Trades, polls of the empty queue, comparisons and sessions that expire come in
the numbers of the hours that are played; the settings are reloaded, and one answer is lost on the way, and heals. The
first third warms up; what is measured in the last third must be what it was in the second.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import requests

from etl.store import schema
from etl.store.database import Database
from etl.store.embedded import EmbeddedPostgres
from tests.acceptance.program import SWEEPS_OFF, Daemon
from tests.databases import SETTINGS, folder, rows
from tests.receivers import Receiver
from tests.simulation.worlds import World, patiently, world

TIMES_AS_FAST = 50
TRADES_A_DAY = 10 * 10_000
POLL_EVERY_S = 5 / TIMES_AS_FAST
SESSION_S = 1_800 / TIMES_AS_FAST
DAY_S = 86_400 / TIMES_AS_FAST
SAMPLES = 90
RELOADS = 12
# A day of production has 1,440 looks of autovacuum, one a minute.
VACUUMED = "-c autovacuum=on -c autovacuum_naptime=1s -c autovacuum_vacuum_cost_delay=0"
MIB = 1024 * 1024
CHANGED_IN_PLACE = ("alert", "booker", "change_counter", "current_poll", "feed", "gap", "lease", "request", "resend")
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
IN_PLACE = "SELECT sum(pg_total_relation_size(to_regclass('stp.' || name))) FROM unnest(CAST(:names AS text[])) AS name"
DEAD = "SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE schemaname = 'stp'"
BY_TRADES = "SELECT pg_database_size(current_database()), (SELECT count(*) FROM stp.trade)"


@dataclass(frozen=True)
class Limit:
    """How much more the last third may show than the second: a part of it, and so much on top."""

    part: float
    more: float


LIMITS: Mapping[str, Limit] = {
    "memory, MiB": Limit(0.03, 4.0),
    "descriptors": Limit(0, 3),
    "threads": Limit(0, 3),
    "connections": Limit(0, 3),
    "tables changed in place, MiB": Limit(0.1, 0.25),
    "dead rows": Limit(0.5, 5_000),
    "bytes a trade": Limit(0.1, 200),
}


@dataclass
class Soaked:
    """What the run came to: each figure over time, and what is wrong."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    trades: int = 0
    polls: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, found: Mapping[str, float]) -> None:
        """Keep one look."""
        for name, figure in found.items():
            self.figures.setdefault(name, []).append(figure)

    def thirds(self, name: str) -> tuple[float, float, float]:
        """Return the median of each third of the run."""
        figures = self.figures[name]
        size = len(figures) // 3
        return median(figures[:size]), median(figures[size : 2 * size]), median(figures[2 * size :])

    def growing(self) -> list[str]:
        """Return a sentence for each figure that is not flat."""
        return [
            f"{name} grew from {second:.1f} to {third:.1f}"
            for name, limit in LIMITS.items()
            for _, second, third in [self.thirds(name)]
            if third > second * (1 + limit.part) + limit.more
        ]


def soak(place: Path, server: EmbeddedPostgres, *, minutes: float) -> Soaked:
    """Play it, and compare the book with the vendor's log at the end."""
    done, lasts_s = Soaked(), minutes * 60
    given = {
        "trades": 500, "rate": TRADES_A_DAY / DAY_S, "token_life_s": SESSION_S, "poll_interval_s": POLL_EVERY_S,
        "page_size": 50, "read_timeout_s": 20.0, "resend_days_at_once": 31,
    }  # fmt: skip
    with Receiver() as receiver, world(place, server.url, **given) as here:
        often = f"= {900 / TIMES_AS_FAST:g}\n"
        compared = f'{SWEEPS_OFF}positions_every_s {often}fills_every_s {often}daily = "off"\n'
        text = here.program.file.read_text().replace(SWEEPS_OFF, compared)
        assert compared in text
        here.program.file.write_text(f'{text}[alerts]\nurl = "{receiver.url}"\n')
        with here.daemon() as daemon:
            daemon.started()
            _play(here, daemon, done, lasts_s)
            here.heal(daemon, within_s=240)
            if (code := daemon.stop()) != 0:
                done.wrong.append(f"the daemon ended with {code}")
            failed = [each for event in ("job.failed", "job.hangs", "job.overdue") for each in daemon.events(event)]
            done.wrong += [f"{each['event']}: {each}" for each in failed[:3]]
        findings = here.verdict()
        done.trades = findings.handed_out
        if not findings.holds:
            done.wrong.append(str(findings))
    done.wrong += done.growing()
    return done


def _play(here: World, daemon: Daemon, done: Soaked, lasts_s: float) -> None:
    """Look at everything again and again; lose one answer and reload the settings on the way."""
    started, every_s = time.monotonic(), lasts_s / SAMPLES
    deeds: dict[int, Callable[[], object]] = {
        number * SAMPLES // RELOADS: lambda: daemon.process.send_signal(signal.SIGHUP) for number in range(1, RELOADS)
    }
    lost = {"fault": "close_after", "nth": 1, "non_empty": "true"}
    deeds[SAMPLES // 10] = lambda: patiently(lambda: here.sandbox.control.plan(lost))
    before = _by_trades(here)
    for number in range(1, SAMPLES + 1):
        time.sleep(max(0.0, started + number * every_s - time.monotonic()))
        deeds.get(number, lambda: None)()
        now = _by_trades(here)
        grew = (now[0] - before[0]) / max(1, now[1] - before[1])
        before = now
        done.add({**_look(here, daemon), "bytes a trade": grew})
        done.polls = _polls(daemon)


def _look(here: World, daemon: Daemon) -> dict[str, float]:
    process = Path("/proc") / str(daemon.process.pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    assert requests.get(f"{daemon.url}/readyz", timeout=120).status_code == 200
    return {
        "memory, MiB": int(status["VmRSS"].split()[0]) / 1024,
        "descriptors": len(list((process / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "connections": here.value(CONNECTIONS),
        "tables changed in place, MiB": float(rows(here.database, IN_PLACE, names=list(CHANGED_IN_PLACE))[0][0]) / MIB,
        "dead rows": float(here.value(DEAD)),
    }


def _by_trades(here: World) -> tuple[int, int]:
    ((size, trades),) = rows(here.database, BY_TRADES)
    return size, trades


def _polls(daemon: Daemon) -> int:
    lines = requests.get(f"{daemon.url}/metrics", timeout=120).text.splitlines()
    return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("stp_etl_polls_total{")))


def run(minutes: float) -> Soaked:
    """Play it on a server and in a folder of its own."""
    with folder() as place, tempfile.TemporaryDirectory(prefix="stp-soak-") as mine:
        server = EmbeddedPostgres(place / "pg", settings=f"{SETTINGS} {VACUUMED}")
        database = Database(server.start())
        try:
            with database.connect() as connection:
                schema.upgrade(connection)
            database.close()
            return soak(Path(mine), server, minutes=minutes)
        finally:
            server.stop("immediate")


def main() -> None:
    """Read the command line, soak, and say what came of it."""
    parser = argparse.ArgumentParser(prog="soak", description="A day at ten times the usual volume stays flat.")
    parser.add_argument("--minutes", type=float, default=DAY_S / 60, help="29 is a day (default), 2 is 100 minutes")
    given = parser.parse_args()
    done = run(given.minutes)
    hours = given.minutes * TIMES_AS_FAST / 60
    print(f"played {hours:.1f} h at ten times the usual volume: {done.trades} trades, {done.polls} polls")
    print(f"{'median of each third':32}{'first':>10}{'second':>10}{'third':>10}")
    for name in LIMITS:
        print(f"{name:32}" + "".join(f"{figure:10.1f}" for figure in done.thirds(name)))
    for fault in done.wrong:
        print(f"FAILED: {fault}")
    sys.exit(int(bool(done.wrong)))


if __name__ == "__main__":
    main()
