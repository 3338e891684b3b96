"""What the benchmarks found, as one table of Markdown: each figure with what it is held against."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HEAD = ("what", "measured", "against", "aim", "met")
RATES, WAITS = "trades a second", "seconds from execution until a reader sees the trade"
"""The charts of the plot."""


class Figure(NamedTuple):
    """One measured figure. `met` is None where there is no aim; `drawn`: chart, label and value for the plot."""

    what: str
    measured: str
    against: str = ""
    aim: str = ""
    met: bool | None = None
    drawn: tuple[tuple[str, str, float], ...] = ()


def table(figures: Iterable[Figure]) -> list[str]:
    """Return the lines of the table."""
    said = {True: "yes", False: "**no**", None: ""}
    lines = [HEAD, ("---",) * len(HEAD), *((*each[:4], said[each.met]) for each in figures)]
    return [f"| {' | '.join(line)} |" for line in lines]


def machine() -> str:
    """Return what was measured on."""
    model = next((each for each in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in each), ":unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{model.partition(':')[2].strip()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python "
        f"{platform.python_version()}, embedded Postgres 18, load average at the start {os.getloadavg()[0]:.1f}"
    )


def percentile(values: list[float], part: float) -> float:
    """Return the smallest value that at least this part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
