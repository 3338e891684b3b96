"""Rules, dashboard and runbook speak of metrics that exist; every alert fires when it should, and is explained."""

import json
import re
import shutil
import subprocess

import pytest

from etl import metrics
from etl.config import AlertKind
from tests.unit.test_architecture import ROOT

RULES = ROOT / "deploy" / "prometheus" / "stp-etl.rules.yml"
TESTS = RULES.with_name("stp-etl.test.yml")
DASHBOARD = ROOT / "deploy" / "grafana" / "stp-etl.json"
RUNBOOK = ROOT / "deploy" / "RUNBOOK.md"

ALERTS = dict(re.findall(r"- alert: (\w+)\n        expr: '(.+)'$", RULES.read_text(), re.MULTILINE))
PANELS = json.loads(DASHBOARD.read_text())["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
OF_PROMETHEUS = {"instance", "le"}
promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")


def known():
    """Return the labels of each metric of ours by the names under which a query may ask for it."""
    found = {}
    for metric in metrics.REGISTRY._collector_to_names:
        if name := getattr(metric, "_name", None):
            for suffix in {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric._type, [""]):
                found[name + suffix] = set(metric._labelnames)
    return found


def metrics_in(query):
    """Return the metrics that a query asks for, each with the labels that it selects by."""
    found = {}
    for name, selected in re.findall(r"\b((?:stp_etl|process)_\w+)(?:\{([^}]*)\})?", query):
        found.setdefault(name, set()).update(re.findall(r"(\w+)(?:=~|!=|!~|=)", selected))
    return found


def faults_in(query):
    """Return what a query asks for that no metric has."""
    ours = {name: labels for name, labels in metrics_in(query).items() if name.startswith("stp_etl_")}
    faults = [name for name in ours if name not in known()]
    faults += [f"{name}{{{each}}}" for name, labels in ours.items() for each in labels - known().get(name, set())]
    grouped = {each.strip() for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for each in group.split(",")}
    there = set().union(OF_PROMETHEUS, *(known().get(name, set()) for name in ours))
    return faults + [f"by {each}" for each in grouped - there - {""}]


@pytest.mark.parametrize("name", ALERTS)
def test_every_rule_asks_for_metrics_and_labels_that_exist(name):
    assert faults_in(ALERTS[name]) == []


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_asks_for_metrics_and_labels_that_exist(query):
    assert faults_in(query) == []


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("max(stp_etl_gap)", "stp_etl_gap"),
        ('stp_etl_gaps{stat="open"}', "stp_etl_gaps{stat}"),
        ("sum by (fed) (stp_etl_gaps)", "by fed"),
        ("rate(stp_etl_page_seconds[5m])", "stp_etl_page_seconds"),
    ],
)
def test_a_query_for_what_does_not_exist_would_be_noticed(query, fault):
    assert faults_in(query) == [fault]


def test_states_and_outcomes_that_rules_select_are_real():
    source = "\n".join(path.read_text() for folder in ("etl", "migrations") for path in (ROOT / folder).rglob("*.py"))
    selected = {
        value
        for query in (*ALERTS.values(), *QUERIES)
        for values in re.findall(r'(?:state|outcome|kind|job)=~?"([^"$]+)"', query)
        for value in values.split("|")
    }

    assert {each for each in selected if not re.search(rf"['\"]{each}['\"]", source)} == set()
    assert len(selected) > 8


def test_every_alert_has_an_entry_in_the_runbook_and_no_entry_is_left_over():
    entries = dict(re.findall(r"^### (StpEtl\w+)\n\n(.+?)(?=^##|\Z)", RUNBOOK.read_text(), re.MULTILINE | re.DOTALL))

    assert set(entries) == set(ALERTS)
    for name, entry in entries.items():
        assert re.match(r"\*(critical|warning)\*\. [A-Z]", entry), name
        assert "**Do**: " in entry, name
        assert f"runbook: deploy/RUNBOOK.md#{name.lower()}\n" in RULES.read_text(), name


def test_the_severity_in_the_runbook_is_that_of_the_rule():
    ruled = re.findall(r"- alert: (\w+)\n(?:        .+\n)+?          severity: (\w+)", RULES.read_text())

    assert ruled == re.findall(r"^### (StpEtl\w+)\n\n\*(\w+)\*", RUNBOOK.read_text(), re.MULTILINE)
    assert len(ruled) == len(ALERTS) > 15


def test_every_alert_is_shown_to_fire_and_to_be_silent():
    named = re.findall(r"- name: (\w+) (fires|is silent)$", TESTS.read_text(), re.MULTILINE)

    assert set(named) == {(name, how) for name in ALERTS for how in ("fires", "is silent")}


def test_the_dashboard_shows_every_metric():
    shown = {name for query in QUERIES for name in metrics_in(query)}
    missing = {name for name in known() if name not in shown and not name.endswith(("_sum", "_count"))}

    assert missing == set()
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    assert all(panel["title"] for panel in PANELS)


def test_every_kind_of_alert_is_explained_in_the_readme():
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")]

    assert [kind for kind in AlertKind if not any(f"`{kind}`" in row.split(" | ")[0] for row in rows)] == []


@promtool
def test_promtool_finds_no_fault_in_the_rules():
    judged = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stderr
    assert f"{len(ALERTS)} rules found" in judged.stdout


@promtool
def test_promtool_sees_every_alert_fire_and_be_silent():
    judged = subprocess.run(
        ["promtool", "test", "rules", TESTS.name], cwd=TESTS.parent, capture_output=True, text=True, check=False
    )

    assert judged.returncode == 0, judged.stdout + judged.stderr


@promtool
def test_promtool_understands_every_query_of_the_dashboard(tmp_path):
    rules = [
        {"record": f"panel:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "panels.yml"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    judged = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)

    assert judged.returncode == 0, judged.stderr
