"""Reconciliation with real processes: quick settings, and its command."""

import json
import re
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from etl.domain.ageing import is_near_cut
from etl.domain.calendar import NEW_YORK, TURNS_AT
from tests.acceptance.program import Program

QUICK = {"ghost_s": 0.2, "eligible_after_s": 0.1, "poll_interval_s": 0.2}
RULES = '[reconciliation]\nsweep = "off"\nconfirm_after_s = 0.2\ncall_spacing_s = 0\ndaily = "off"\n{}\n'
CUT = time(TURNS_AT.seconds // 3600)

not_near_cut = pytest.mark.skipif(
    is_near_cut(datetime.now(UTC), CUT, NEW_YORK, within=timedelta(minutes=15)),
    reason="the trade day turns about now: a run tells the timing only",
)


def with_rules(program: Program, more: str = "") -> None:
    """Let the program reconcile quickly, and only what is asked for or said here."""
    program.file.write_text(re.sub(r"\[reconciliation\]\n[^[]*", RULES.format(more), program.file.read_text()))


def reconcile(program: Program, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and the outcomes."""
    done = program.call("reconcile", *words, "--format", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
