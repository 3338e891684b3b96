"""A day of many feeds on some cores, simulated: what no machine here can run. Costs are measured, arrivals are drawn.

The queue in one sentence: each feed is polled every few seconds, takes its pages one after the other, and all share the
cores, in turn. Deterministic: a seed is a day.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.benchmarks.report import kept

DAY_S = 86_400
BY_HOUR = (1, 1, 1, 1, 1, 2, 4, 7, 8, 7, 6, 6, 8, 10, 10, 8, 6, 4, 3, 2, 2, 2, 1, 1)
"""Weight of each hour of the day, UTC: Asia, London, both, New York."""
PEAKS = ((7 * 3600, 300, 0.04), (13 * 3600 + 1800, 300, 0.08), (16 * 3600, 60, 0.05), (21 * 3600 - 300, 300, 0.03))
"""Openings, the fixing of 16:00, the close: from which second on, for how many, and which part of the day's trades."""
AIM_BEYOND_POLL_S = 1.0
MOST_CORES = 64
LOADS = (
    (10, 20_000, 2), (10, 200_000, 2), (10, 200_000, 4), (50, 20_000, 2), (50, 100_000, 4), (200, 5_000, 4),
    (200, 25_000, 8),
)  # fmt: skip
"""Feeds, trades a day of each, cores."""
MARK = "simulated days"
BYTES_A_TRADE = 1_800  # deploy/SCALING.md, run


class Costs(NamedTuple):
    """What a trade and an idle feed take of a core, program and Postgres together, and how long a page takes."""

    trade_s: float
    idle_share: float
    poll_s: float = 5.0
    page: int = 50
    page_wait_s: float = 0.05
    """Assumed: the vendor's own time for an answer, in which no core of ours is busy."""

    @property
    def most_a_poll(self) -> int:
        """Return how many trades one feed can take between two polls, however many cores there are."""
        return int(self.poll_s / (self.page_wait_s / self.page + self.trade_s))


class Day(NamedTuple):
    """What came of a simulated day. Delays are upper bounds: from the poll before the trade until it is booked."""

    handed_out: int
    booked: int
    busiest_a_second: float
    backlog: int
    p99_s: float
    longest_s: float


def measured_costs(results: Path) -> Costs:
    """Return the costs by the figures of the benchmarks; a rate counts as one core wholly busy, which is too dear."""
    figures = kept(results)
    rates = {label: value for each in figures for _, label, value in each.drawn}
    idle = sum(float(each.measured.split(" % of a core")[0]) for each in figures if "% of a core" in each.measured)
    interval = re.search(
        r"a poll each (\d+) s", next(each.against for each in figures if "% of a core" in each.measured)
    )
    assert interval is not None
    return Costs(trade_s=1 / rates["empty book, pages of 50"], idle_share=idle / 100, poll_s=float(interval[1]))


def weights(poll_s: float) -> list[float]:
    """Return the weight of each interval between two polls, in all 1: hours, and peaks on top of them."""
    share = 1 - sum(part for *_, part in PEAKS)
    starts = [number * poll_s for number in range(int(DAY_S / poll_s))]
    usual = sum(BY_HOUR[int(start // 3600)] for start in starts)
    return [
        share * BY_HOUR[int(start // 3600)] / usual
        + sum(part * poll_s / lasts for begins, lasts, part in PEAKS if begins <= start < begins + lasts)
        for start in starts
    ]


def arrivals(feeds: int, trades: int, poll_s: float, seed: int) -> list[array[int]]:
    """Return for each feed how many trades are executed between two polls: so many a day, none lost in rounding."""
    chance, each = list(accumulate(weights(poll_s))), Random(seed)
    found = [array("L", [0]) * len(chance) for _ in range(feeds)]
    for feed in found:
        for number in each.choices(range(len(chance)), cum_weights=chance, k=trades):
            feed[number] += 1
    return found


def simulated(came: list[array[int]], cores: int, costs: Costs) -> Day:
    """Let the day pass, and then the time until all is booked; raise ValueError where idling alone takes all cores."""
    core_s = costs.poll_s * (cores - len(came) * costs.idle_share)
    if core_s < costs.trade_s:
        raise ValueError(f"{len(came)} idle feeds take all of {cores} cores")
    intervals, in_turn = len(came[0]), list(range(len(came)))
    waiting: list[deque[list[int]]] = [deque() for _ in came]
    delays: Counter[float] = Counter()
    backlog = held = number = 0
    while number < intervals or held:
        if number < intervals:
            for feed, executed in enumerate(came):
                if executed[number]:
                    waiting[feed].append([number, executed[number]])
                    held += executed[number]
        backlog = max(backlog, held)
        used_s = 0.0
        for feed in in_turn[number % len(came) :] + in_turn[: number % len(came)]:
            most = min(costs.most_a_poll, int((core_s - used_s) / costs.trade_s + 1e-9))
            taken = _take(waiting[feed], most, delays, (number, costs, used_s / cores)) if waiting[feed] else 0
            used_s += taken * costs.trade_s
            held -= taken
        number += 1
    return Day(
        sum(map(sum, came)), delays.total(), max(map(sum, zip(*came, strict=True))) / costs.poll_s, backlog,
        _percentile(delays, 0.99), max(delays, default=0.0),
    )  # fmt: skip


def _take(waiting: deque[list[int]], most: int, delays: Counter[float], when: tuple[int, Costs, float]) -> int:
    """Book the oldest trades of a feed, and note how long each waited; return how many."""
    (now, costs, begins_s), taken = when, 0
    while waiting and taken < most:
        executed, count = waiting[0]
        part = min(count, most - taken)
        taken += part
        pages_s = taken * (costs.page_wait_s / costs.page + costs.trade_s)
        delays[round((now - executed + 1) * costs.poll_s + begins_s + pages_s, 2)] += part
        if part == count:
            waiting.popleft()
        else:
            waiting[0][1] -= part
    return taken


def _percentile(delays: Mapping[float, int], part: float) -> float:
    reached, wanted = 0, part * sum(delays.values())
    for delay in sorted(delays):
        reached += delays[delay]
        if reached >= wanted:
            return delay
    return 0.0


def cores_needed(came: list[array[int]], costs: Costs) -> int | None:
    """Return the fewest cores with a p99 of the poll interval and a second; None where pages are the limit."""
    aim_s, most = costs.poll_s + AIM_BEYOND_POLL_S, MOST_CORES
    if simulated(came, most, costs).p99_s > aim_s:
        return None
    least = int(len(came) * costs.idle_share) + 1
    while least < most:
        middle = (least + most) // 2
        if simulated(came, middle, costs).p99_s <= aim_s:
            most = middle
        else:
            least = middle + 1
    return least


def lines(costs: Costs, loads: Iterable[tuple[int, int, int]] = LOADS, seed: int = 1) -> list[str]:
    """Return the table for loads of feeds, trades a day of each, and cores, with the costs that it stands on."""
    head = ("feeds", "trades a day, in all", "cores", "busiest 5 s, trades/s", "largest backlog", "p99, at most",
            "longest, at most", f"cores for a p99 of {costs.poll_s + AIM_BEYOND_POLL_S:g} s", "disk a day")  # fmt: skip
    rows = [head, ("---",) * len(head)]
    for feeds, trades, cores in loads:
        came = arrivals(feeds, trades, costs.poll_s, seed)
        day, needed = simulated(came, cores, costs), cores_needed(came, costs)
        rows.append((
            f"{feeds}", f"{day.handed_out:,}", f"{cores}", f"{day.busiest_a_second:,.0f}", f"{day.backlog:,}",
            f"{day.p99_s:.1f} s", f"{day.longest_s:.0f} s", f"{needed or f'over {MOST_CORES}'}",
            f"{day.handed_out * BYTES_A_TRADE / 1e9:.1f} GB",
        ))  # fmt: skip
    said = (
        f"**Simulated**, seed {seed}, with {costs.trade_s * 1000:.2f} ms of a core for a trade, {costs.idle_share:.1%} "
        f"of one for an idle feed, a poll each {costs.poll_s:g} s, {costs.page_wait_s * 1000:.0f} ms for a page of "
        f"{costs.page}:"
    )
    return [said, "", *(f"| {' | '.join(row)} |" for row in rows)]
