"""What the benchmarks found, as one table of Markdown: each figure with what it is held against."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

HEAD = ("what", "measured", "against", "aim", "met")
FIGURES = "figures"
"""The mark around the table in the pages that show it."""
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


def keep(results: Path, measured_on: str, figures: Iterable[Figure]) -> None:
    """Put the figures into the file of results, each in place of an older one of the same name."""
    known = json.loads(results.read_text()) if results.exists() else {}
    known |= {f"{each.what}; {each.against}": {**each._asdict(), "machine": measured_on} for each in figures}
    results.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def kept(results: Path) -> list[Figure]:
    """Return the figures of a file of results."""
    return [
        Figure(*(each[name] for name in Figure._fields[:-1]), tuple(map(tuple, each["drawn"])))
        for each in json.loads(results.read_text()).values()
    ]


def write_into(page: Path, figures: Iterable[Figure]) -> None:
    """Put the table of the figures into a page, in place of the one that stands there between its marks."""
    page.write_text(replaced(page.read_text(), FIGURES, table(figures)))


def replaced(text: str, mark: str, lines: Iterable[str]) -> str:
    """Return a page with these lines between its marks of that name; ValueError where they are not there once."""
    before, rest = text.split(f"<!-- {mark} -->\n")
    _, after = rest.split(f"<!-- end of the {mark} -->\n")
    return f"{before}<!-- {mark} -->\n" + "\n".join(lines) + f"\n<!-- end of the {mark} -->\n{after}"


def between(text: str, mark: str) -> list[str]:
    """Return the lines of a page between its marks of that name."""
    return text.split(f"<!-- {mark} -->\n")[1].split(f"<!-- end of the {mark} -->\n")[0].splitlines()


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
