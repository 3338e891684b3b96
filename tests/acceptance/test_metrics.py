"""The metrics: their names, types and labels are a contract; README.md is where it stands."""

import re
import shutil
import subprocess

import pytest

from etl import metrics
from tests.acceptance.program import ROOT, booked, until

CONTRACT = {
    "stp_etl_polls_total": ("counter", "feed, outcome"),
    "stp_etl_messages_landed_total": ("counter", "feed"),
    "stp_etl_trades_booked_total": ("counter", "feed, outcome"),
    "stp_etl_page_seconds": ("histogram", "phase"),
    "stp_etl_execution_to_book_seconds": ("histogram", ""),
    "stp_etl_last_empty_timestamp_seconds": ("gauge", "feed"),
    "stp_etl_gaps": ("gauge", "feed, state"),
    "stp_etl_breaks": ("gauge", "feed, kind, state"),
    "stp_etl_exceptions": ("gauge", "feed"),
    "stp_etl_resends_total": ("counter", "feed, state"),
    "stp_etl_leader": ("gauge", "feed"),
    "stp_etl_job_seconds": ("histogram", "job"),
    "stp_etl_job_failures_total": ("counter", "job"),
    "stp_etl_build_info": ("gauge", "version"),
}
"""Of the design: never renamed, never another type or label. Further ones are in README.md."""
CLOSED = {"outcome", "phase", "state", "kind", "table", "version"}


def registered():
    """Return type and labels of each metric of ours by its name."""
    found = {}
    for metric in metrics.REGISTRY._collector_to_names:
        if name := getattr(metric, "_name", None):
            kind = metric._type
            found[f"{name}_total" if kind == "counter" else name] = (kind, ", ".join(metric._labelnames))
    return found


def on_the_page(text):
    """Return the type of each family on the page, and the names of the labels of its series."""
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels = {name: set() for name in types}
    for name, given in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
        family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
        labels[family] |= set(re.findall(r"(\w+)=", given)) - {"le"}
    return types, labels


def test_no_metric_of_the_design_changes_its_name_type_or_labels():
    assert {name: registered().get(name) for name in CONTRACT} == CONTRACT


def test_the_table_in_the_readme_is_what_there_is():
    rows = re.findall(r"^\| `(stp_etl_\w+)` \| (\w+) \| ([\w, ]*?) ?\| .+ \|$", (ROOT / "README.md").read_text(), re.M)

    assert {name: (kind, labels) for name, kind, labels in rows} == registered()


def test_labels_come_from_closed_sets_from_the_settings_or_are_jobs():
    labels = {label for _, names in registered().values() for label in names.split(", ") if label}

    assert labels <= {"feed", "job", *CLOSED}


@pytest.fixture
def page(play, program_for, database):
    """The page of a daemon that has pulled, booked, lost an answer and excepted a message."""
    sandbox = play(trades=40)
    sandbox.control.plan({"fault": "close_after", "nth": 2, "non_empty": "true"})
    with program_for(
        sandbox, page_size=10, ghost_s=0.5, eligible_after_s=0.1, resend_days_at_once=31
    ).daemon() as daemon:
        until(lambda: len(booked(database)) == 40, what="the trades, the lost ones too")
        until(lambda: 'stp_etl_gaps{feed="main",state="open"}' in daemon.page("/metrics").text, what="the gauges")
        until(lambda: 'state="complete"} 1.0' in daemon.page("/metrics").text, what="the resend")
        yield daemon.page("/metrics").text
        assert daemon.stop() == 0


def test_the_page_of_a_daemon_at_work_has_every_metric_with_its_type_and_labels(page):
    types, labels = on_the_page(page)

    assert {name: kind for name, kind in types.items() if name.startswith("stp_")} == {
        name: kind for name, (kind, _) in registered().items()
    }
    for name, (_, expected) in registered().items():
        assert labels[name] in (set(filter(None, expected.split(", "))), set()), name
    silent = {name for name in CONTRACT if not re.search(rf"^{name}\w*[ {{]", page, re.MULTILINE)}
    assert silent == {"stp_etl_breaks"}  # there was none
    for line in (
        'stp_etl_polls_total{feed="main",outcome="in_doubt"} 1.0',
        'stp_etl_trades_booked_total{feed="main",outcome="booked"} 40.0',
        'stp_etl_leader{feed="main"} 1.0',
        'stp_etl_job_failures_total{job="poll-main"} 0.0',
    ):
        assert line in page
    assert "process_resident_memory_bytes" in page
    assert "_created" not in page
    promtool_finds_nothing(page)


def promtool_finds_nothing(page):
    """Let Prometheus' own tool judge the page, where it is installed."""
    if (promtool := shutil.which("promtool")) is not None:
        judged = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, text=True, check=False)
        assert (judged.returncode, judged.stdout + judged.stderr) == (0, "")
