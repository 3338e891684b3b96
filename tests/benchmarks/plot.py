"""The figures of the benchmarks as a picture: `python -m tests.benchmarks.plot RESULTS.json PICTURE.png`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from tests.benchmarks.report import kept

INCHES_A_BAR, WIDE = 0.3, 9.0


def draw(results: Path, picture: Path) -> None:
    """Draw a chart of bars for each unit that the kept figures have."""
    charts: dict[str, dict[str, float]] = {}
    for figure in kept(results):
        for chart, label, value in figure.drawn:
            charts.setdefault(chart, {})[label] = value
    draw_charts(charts, picture)


def draw_charts(charts: Mapping[str, Mapping[str, float]], picture: Path) -> None:
    """Draw a chart of bars for each title; its bars by their labels."""
    heights = [len(bars) + 1 for bars in charts.values()]
    page = Figure(figsize=(WIDE, sum(heights) * INCHES_A_BAR + 1))
    axes = page.subplots(len(charts), 1, height_ratios=heights, squeeze=False)
    for axis, (chart, bars) in zip(axes[:, 0], charts.items(), strict=True):
        drawn = axis.barh(list(bars), list(bars.values()), color="#31688e")
        axis.bar_label(
            drawn, fmt=lambda value: f"{value:,.0f}" if value >= 1000 else f"{value:.4g}", padding=3, fontsize=8
        )
        axis.invert_yaxis()
        axis.set_title(chart, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.12)
    page.tight_layout()
    page.savefig(picture, dpi=110)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
