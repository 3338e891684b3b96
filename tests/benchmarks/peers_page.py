"""What the programs were found to do beside each other, as a table in README.md and as a picture."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from tests.benchmarks import plot
from tests.benchmarks.programs import DLT_BULK, DLT_PAGE, FLOOR, ORM, OURS, SINGER
from tests.benchmarks.report import between, replaced

ROOT = Path(__file__).resolve().parents[2]
PAGE, KEPT, PICTURE = ROOT / "README.md", ROOT / "deploy" / "peers.json", ROOT / "deploy" / "peers.png"
MARK = "peers"
AIMS = {FLOOR: 0.6, DLT_BULK: 1.5, DLT_PAGE: 30.0, SINGER: 5.0, ORM: 10.0}
"""How many times as fast as each we want to be."""
ENOUGH_ROUNDS = 5
Found = dict[str, Any]


def lines(found: Found) -> list[str]:
    """Return what was measured where and how, then the table."""
    sizes = list(found["runs"][OURS])
    rounds = len(found["runs"][OURS][sizes[0]])
    usual, longer = (found["numbers"][OURS][kind]["numbers"] for kind in ("usual", "long"))
    head = ["program"]
    for size in sizes:
        head += [f"pages of {int(size):,}: trades/s (of so many)", "ours / it", "CPU s/100,000"]
    head += [
        f"of {usual:,} usual numbers changed", f"of {longer:,} with long amounts",
        "lost by a SIGKILL, of those handed out before it",
    ]  # fmt: skip
    rows = [head, ["---"] * len(head), *(_row(way, found, sizes) for way in found["runs"])]
    few = " A short run, which settles no aim." if rounds < ENOUGH_ROUNDS else ""
    return [
        f"{found['machine']}; {rounds} rounds in turn, medians.{few}",
        "",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _row(way: str, found: Found, sizes: list[str]) -> list[str]:
    cells = [way]
    for size in sizes:
        runs = found["runs"][way][size]
        rate, ratio = _median(runs, "rate"), _median(found["runs"][OURS][size], "rate") / _median(runs, "rate")
        cells += [f"{rate:,.0f} ({runs[0]['trades']:,})", _judged(way, ratio), f"{_median(runs, 'cpu'):.1f}"]
    killed = found["kills"][way]
    numbers = [_numbers(**found["numbers"][way][kind]) for kind in ("usual", "long")]
    return [*cells, *numbers, f"{killed['lost']:,} of {killed['at_kill']:,}"]


def _judged(way: str, ratio: float) -> str:
    """Return a ratio with our aim, and whether it is met."""
    if way not in AIMS:
        return ""
    shown = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    return f"{shown}, aim {AIMS[way]:g}: {'yes' if ratio >= AIMS[way] else '**no**'}"


def _numbers(numbers: int, other: int, digits: int) -> str:
    """Say how many numbers have another value, and how many only another spelling, such as a zero less at the end."""
    assert other <= digits <= numbers
    spelled = digits - other
    return f"{other:,}" + (f", and {spelled:,} spelled otherwise" if spelled else "")


def _median(runs: list[dict[str, float]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def write(found: Found) -> None:
    """Keep the figures, and put the table into README.md and the picture beside it."""
    KEPT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(replaced(PAGE.read_text(), MARK, lines(found)))
    plot.draw_charts(
        {
            f"trades a second, pages of {int(size):,}": {
                way: _median(of[size], "rate") for way, of in found["runs"].items()
            }
            for size in found["runs"][OURS]
        },
        PICTURE,
    )


def shown() -> list[str]:
    """Return the lines that stand in README.md."""
    return between(PAGE.read_text(), MARK)
