"""Kill the real daemon at random instants while trades flow and faults fire, let it heal, and ask the oracle.

python -m tests.simulation.crash --runs 50 --seed 1     (or: make crash RUNS=50 SEED=1)

All choices come from the seed: what goes wrong, where, and when the daemon is killed. What the machine makes of it,
the order of threads and packets, is its own. A world is one sandbox, one database and up to 25 kills.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

from tests.acceptance.program import Daemon
from tests.databases import Server, embedded, migrated, rows
from tests.simulation.oracle import Findings
from tests.simulation.worlds import LONGEST_GHOST_S, QUICK, World, patiently, world

KILLS_A_WORLD = 25
FEW_KILLS = 4
HEAL_WITHIN_S = 900.0  # half a minute on an idle machine; one that is busy falls behind 60 trades a second
ANSWERED_FOREVER_S = 20.0
START_S = 4.0
FLOWING_S = 2.0

# The same bytes twice are a poison page, which rightly waits for a person: so each only once in a world.
OTHER_BODIES = ("html", "object", "null", "wrapped")
# What A9 promises does not happen (a hand-out answered by 400, 401 or 404) and what only the sweep can find (a second
# consumer) is not played. Fields are damaged in ways that make exception items, or none.
QUEUE = (
    "refuse", "close_before", "reset_before", "ghost", "close_after", "reset_after", "headers_then_silence", "cut_body",
    "wrong_length", "400", "401", "404", "429_before", "429_after", "500_before", "500_after", "502_before",
    "502_after", "503_before", "503_after", "gzip", "gzip_cut", "slow_bytes", "foreign_request_id", "no_request_id",
    "delay", "duplicate_page", "reordered_page", "oversize_page", "unknown_event", "huge_body",
    "missing_field:dealtAmount", "renamed_field:valueDate=settlementDate", "retyped_field:symbol", "token_expired",
    "redirect",
)  # fmt: skip
RESEND = (
    "close_before", "reset_before", "ghost", "close_after", "reset_after", "headers_then_silence", "cut_body",
    "wrong_length", "html", "429_before", "429_after", "500_before", "500_after", "503_before", "503_after", "401",
    "slow_bytes", "foreign_request_id", "no_request_id", "delay", "token_expired", "short_resend", "amended_on_resend",
)  # fmt: skip
LOGIN = (
    "close_before", "reset_after", "headers_then_silence", "cut_body", "html", "429", "500", "503", "401", "delay",
)  # fmt: skip


@dataclass
class Ended:
    """One world at its end."""

    kills: int
    findings: Findings
    faults: Counter[str]
    to_heal_s: float
    """From the start after the last kill."""
    in_doubt_per_kill: list[int]
    """Trades handed out in the request that each kill interrupted."""
    recovered: int
    """Trades that stand in the book, although the answer that carried them first was lost."""
    doubts: list[tuple[float, int]]
    """For each poll in doubt: seconds until its gap was healed, and the drains of the queue in that time."""


@dataclass
class Total:
    """All worlds together."""

    worlds: int = 0
    kills: int = 0
    handed_out: int = 0
    booked: int = 0
    exceptions: int = 0
    recovered: int = 0
    lost: int = 0
    wrong: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    in_doubt_per_kill: list[int] = field(default_factory=list)
    to_heal_s: list[float] = field(default_factory=list)
    doubts: list[tuple[float, int]] = field(default_factory=list)

    def add(self, ended: Ended) -> None:
        """Count a world."""
        found = ended.findings
        self.worlds += 1
        self.kills += ended.kills
        self.handed_out += found.handed_out
        self.booked += found.booked
        self.exceptions += found.exceptions
        self.lost += len(found.lost)
        self.wrong += len(found.wrong)
        self.recovered += ended.recovered
        self.faults += ended.faults
        self.in_doubt_per_kill += ended.in_doubt_per_kill
        self.to_heal_s.append(ended.to_heal_s)
        self.doubts += ended.doubts

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield the table."""
        waits, cycles = [wait for wait, _ in self.doubts], [drains for _, drains in self.doubts]
        yield "worlds", f"{self.worlds}"
        yield "kills", f"{self.kills}"
        yield "faults played", f"{self.faults.total()}, of {len(self.faults)} kinds"
        yield "trades handed out", f"{self.handed_out}"
        yield "  booked", f"{self.booked}"
        yield "  exception items", f"{self.exceptions}"
        yield "  lost first, recovered", f"{self.recovered}"
        yield "  lost", f"{self.lost}"
        yield "other findings", f"{self.wrong}"
        interrupted = [count for count in self.in_doubt_per_kill if count]
        yield "kills with a page in flight", f"{len(interrupted)}"
        yield "trades in doubt per kill, at most", f"{max(self.in_doubt_per_kill, default=0)}"
        yield "polls in doubt", f"{len(self.doubts)}"
        yield "doubt to proof, median", f"{_middle(waits):.1f} s, {_middle(cycles):.0f} drains"
        yield "doubt to proof, 99th percentile", f"{_p99(waits):.1f} s, {_p99(cycles):.0f} drains"
        yield "last start to all healed, median", f"{_middle(self.to_heal_s):.1f} s"


def _middle(values: list[Any]) -> float:
    return float(median(values)) if values else 0.0


def _p99(values: list[Any]) -> float:
    return quantiles(values, n=100, method="inclusive")[98] if len(values) > 1 else _middle(values)


class Trouble:
    """Draws faults, so that every kind comes before one comes again."""

    def __init__(self, draw: Random) -> None:
        self._draw = draw
        bodies = [draw.choice((body, f"{body}_before")) for body in OTHER_BODIES]
        self._kinds = {"messages": [*QUEUE, *bodies], "resend": list(RESEND), "login": list(LOGIN)}
        self._left: dict[str, list[str]] = {name: [] for name in self._kinds}
        self._used = set(bodies)

    def next(self) -> list[dict[str, Any]]:
        """Return the faults to plan for one life of the daemon."""
        draw = self._draw
        wanted = ["messages"] * draw.choice((0, 1, 2, 2, 3))
        wanted += ["resend"] * (draw.random() < 0.4) + ["login"] * (draw.random() < 0.2)
        return [self._fault(endpoint) for endpoint in wanted]

    def _fault(self, endpoint: str) -> dict[str, Any]:
        left, draw = self._left[endpoint], self._draw
        if not left:
            left += draw.sample(self._kinds[endpoint], len(self._kinds[endpoint]))
            self._kinds[endpoint] = [kind for kind in self._kinds[endpoint] if kind not in self._used]
        fault: dict[str, Any] = {"fault": left.pop(), "endpoint": endpoint, "nth": draw.choice((1, 1, 2, 3))}
        match fault["fault"].partition(":")[0]:
            case "ghost":
                fault |= {"delay_s": round(draw.uniform(0.1, LONGEST_GHOST_S), 3), "close": draw.random() < 0.5}
            case "headers_then_silence":
                fault |= {"delay_s": ANSWERED_FOREVER_S}
            case "delay" | "slow_bytes" | "refuse":
                fault |= {"delay_s": round(draw.uniform(0.1, 0.9), 3)}
            case "missing_field" | "renamed_field" | "retyped_field" | "unknown_event" | "huge_body" | "oversize_page":
                fault |= {"count": 1}
        if endpoint == "messages":
            fault["non_empty"] = draw.random() < 0.8
        return fault


def crash(place: Path, database_url: str, *, seed: int, kills: int) -> Ended:
    """Play one world to its end. A few kills get a small world, so that tests are over soon."""
    draw = Random(f"crash/{seed}")
    days_at_once = (1, 1, 3) if kills > FEW_KILLS else (31,)
    given = {
        "seed": seed, "trades": draw.randrange(100, 600), "rate": float(draw.choice((5, 20, 60))),
        "page_size": draw.choice((3, 10, 50)), "resend_days_at_once": draw.choice(days_at_once),
    }  # fmt: skip
    with world(place, database_url, **given) as here:
        trouble = Trouble(draw)
        interrupted = []
        for number in range(1, kills + 1):
            planned = trouble.next()
            patiently(partial(here.sandbox.control.plan, *planned))
            interrupted.append(live_and_die(here, draw))
            _progress(f"seed {seed}, kill {number} of {kills}: {', '.join(_named(planned)) or 'no fault'}")
        patiently(here.sandbox.control.clear_faults)
        _wait_longer(here)
        _progress(f"seed {seed}: healing")
        took, findings = here.heal_and_judge(within_s=HEAL_WITHIN_S if kills > FEW_KILLS else HEAL_WITHIN_S / 4)
        log = here.sandbox.control.handed_out()
        count = Counter(line["request_id"] for line in log)
        faults = Counter(
            f"{each['endpoint']} {each['fault']}" for each in here.sandbox.control.requests() if each["fault"]
        )
        in_doubt = [count[request_id] if request_id else 0 for request_id in interrupted]
        return Ended(kills, findings, faults, took, in_doubt, recovered(here, log), doubts(here))


def _wait_longer(here: World) -> None:
    """Let no answer time out any more because the machine is busy: each doubt asks for a day of many trades anew."""
    file = here.program.file
    file.write_text(file.read_text().replace(f"read_timeout_s = {QUICK['read_timeout_s']}", "read_timeout_s = 30"))


def live_and_die(here: World, draw: Random) -> str | None:
    """Run the daemon for a while and kill it; return the request that it had under way and nobody will see answered."""
    how, patience, moment = draw.random(), draw.uniform(0, FLOWING_S), draw.uniform(0, 0.03)
    with here.daemon() as daemon:
        if how < 0.1:  # while it starts
            time.sleep(draw.uniform(0, START_S))
        else:
            daemon.started()
            time.sleep(patience)
            if how > 0.5:  # close to a page
                _until_more_is_handed_out(here, daemon)
                time.sleep(moment)
        if daemon.process.poll() is not None:
            raise AssertionError(f"the daemon ended by itself:\n{daemon.said[-2000:]}")
        daemon.kill()
    found = rows(here.database, "SELECT request_id FROM stp.current_poll WHERE outcome IS NULL")
    return str(found[0][0]) if found else None


def _until_more_is_handed_out(here: World, daemon: Daemon) -> None:
    def count() -> int:
        return int(patiently(here.sandbox.control.state)["handed_out"])

    already, until_at = count(), time.monotonic() + FLOWING_S
    while count() == already and time.monotonic() < until_at:
        if daemon.process.poll() is not None:
            return


def recovered(here: World, log: list[dict[str, Any]]) -> int:
    """Return how many trades in the book came first in an answer that was never landed."""
    first: dict[str, str] = {}
    for line in log:
        first.setdefault(line["trade_id"], line["request_id"])
    question = "SELECT DISTINCT m.trade_id, a.request_id FROM stp.message m JOIN stp.answer a USING (feed_id, poll_id)"
    landed = {(row["trade_id"], row["request_id"]) for row in here.ask(question)}
    in_the_book = {row["trade_id"] for row in here.ask("SELECT trade_id FROM reporting.trade")}
    return sum(each in in_the_book and (each, request_id) not in landed for each, request_id in first.items())


def doubts(here: World) -> list[tuple[float, int]]:
    """Return for each poll in doubt how long its gap stayed unhealed: in seconds, and in drains of the queue."""
    question = """
        SELECT extract(epoch FROM g.closed_at - p.closed_at)::float AS waited,
            (SELECT count(DISTINCT d.drain_id) FROM stp.poll d
              WHERE d.feed_id = p.feed_id AND d.opened_at BETWEEN p.closed_at AND g.closed_at) AS drains
        FROM stp.poll p JOIN stp.gap g ON g.id = p.gap_id WHERE g.closed_at IS NOT NULL AND p.outcome = 'in_doubt'
    """
    return [(row["waited"], row["drains"]) for row in here.ask(question)]


def _named(faults: list[dict[str, Any]]) -> list[str]:
    return [f"{each['fault']} on {each['endpoint']}" for each in faults]


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns - 1
        print(f"\r\033[K{text[:columns]}", end="", file=sys.stderr, flush=True)
    elif os.environ.get("CRASH_PROGRESS"):
        print(text, file=sys.stderr, flush=True)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    print(text, flush=True)


@contextmanager
def place_for(seed: int) -> Iterator[Path]:
    """Lend a folder for settings and logs; it stays when the world fails."""
    made = Path(tempfile.mkdtemp(prefix=f"stp-crash-{seed}-"))
    yield made
    shutil.rmtree(made)


def play(server: Server, seed: int, kills: int) -> Ended:
    """Play one world in a database and a folder of its own. Raises AssertionError with how to play it again."""
    again = f"again: make crash RUNS={kills} SEED={seed}"
    with place_for(seed) as place, server.database() as url:
        try:
            ended = crash(place, url, seed=seed, kills=kills)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}\nlogs: {place}; {again}") from error
        if not ended.findings.holds:
            raise FailedWorldError(f"seed {seed}: {ended.findings}\nlogs: {place}; {again}", ended)
        return ended


class FailedWorldError(AssertionError):
    """A world in which the oracle found something; `ended` has the counts."""

    def __init__(self, text: str, ended: Ended) -> None:
        super().__init__(text)
        self.ended = ended


def run(runs: int, seed: int) -> int:
    """Play worlds until there were so many kills; print the table; return 0 only when nothing is lost or wrong."""
    total, failed, started = Total(), 0, time.monotonic()
    with embedded() as own, migrated(own.url) as server:
        while total.kills + failed * KILLS_A_WORLD < runs:
            kills = min(KILLS_A_WORLD, runs - total.kills)
            world_seed = seed + total.worlds + failed
            try:
                ended = play(server, world_seed, kills)
            except FailedWorldError as error:
                _say(f"FAILED: {error}")
                total.add(error.ended)
                continue
            except AssertionError as error:
                _say(f"FAILED: {error}")
                failed += 1
                continue
            total.add(ended)
            _say(
                f"seed {world_seed}: {kills} kills, {ended.findings.handed_out} trades handed out, "
                f"{ended.recovered} recovered, 0 lost; all healed {ended.to_heal_s:.1f} s after the last start"
            )
    _say("")
    for name, value in total.lines():
        _say(f"{name:<34} {value}")
    _say(f"{'took':<34} {time.monotonic() - started:.0f} s, {os.cpu_count()} cores, {platform.machine()}")
    return int(bool(failed or total.lost or total.wrong))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="crash", description="Kill the daemon at random instants; nothing is lost.")
    parser.add_argument("--runs", type=int, default=50, help="kills (default 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the first world; the next one has the next (default 1)")
    given = parser.parse_args()
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    sys.exit(run(given.runs, given.seed))


if __name__ == "__main__":
    main()
