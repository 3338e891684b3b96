"""deploy/SCALING.md says what was measured: its table is that of the kept figures, and what it names exists."""

import re
from pathlib import Path

from tests.benchmarks.asked import MEASURES, PAGES
from tests.benchmarks.report import FIGURES as MARK
from tests.benchmarks.report import between, kept, table

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PAGE = (DEPLOY / "SCALING.md").read_text()
FIGURES = kept(DEPLOY / "scaling.json")


def test_the_tables_are_those_of_the_kept_figures():
    for page in PAGES:
        assert between(page.read_text(), MARK) == table(FIGURES)


def test_each_figure_is_there_once_and_each_benchmark_has_its_flag_explained():
    assert len({(each.what, each.against) for each in FIGURES}) == len(FIGURES) > 10
    assert set(re.findall(r"`\"--(\w+)", PAGE)) == set(MEASURES)


def test_every_file_and_setting_that_is_named_exists():
    files = set(re.findall(r"`((?:tests|etl|deploy)/[\w./-]+)`", PAGE))
    links = set(re.findall(r"\]\(([^)#]+)\)", PAGE))
    settings = set(
        re.findall(r"`((?:page_size|poll_interval_s|pool_size|own_process|\w+_months|retention_days))`", PAGE)
    )
    example = (ROOT / "config" / "stp-etl.toml").read_text()

    assert len(files) > 1
    assert len(settings) > 3
    assert [each for each in sorted(files) if not (ROOT / each).exists()] == []
    assert [each for each in sorted(links) if not (DEPLOY / each).exists()] == []
    assert [each for each in sorted(settings) if not re.search(rf"^#? ?{each} =", example, re.MULTILINE)] == []


def test_the_readme_leads_there_and_shows_the_picture():
    readme = (ROOT / "README.md").read_text()

    assert "(deploy/SCALING.md)" in readme
    assert "(deploy/scaling.png)" in readme
    assert (DEPLOY / "scaling.png").read_bytes().startswith(b"\x89PNG")
