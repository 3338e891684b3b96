"""Before many breaks are shown: whether another reading of the vendor's fields clears most of them (design.md §6)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import structlog

from etl.controls.confirming import Confirmed, Run, keys_of
from etl.controls.questions import ReconciledFeed
from etl.domain.balance import ZERO
from etl.domain.money import EXACT
from etl.domain.readings import FROM, Clearing, clearing
from etl.domain.reconciliation import BreakKind, Finding
from etl.store.unit_of_work import UnitOfWork

MOST_TRIED = 200  # positions that agree, beside as many that differ
WORD = "reading"

log = structlog.get_logger()


def read_otherwise(work: UnitOfWork, feed: ReconciledFeed, run: Run, seen: Confirmed) -> Clearing | None:
    """Return the reading that clears most of the differences of a run; None where there are few, or it is none.

    A position that differs in its term amount only is not tried: a reading of the messages moves the base amount too.
    """
    in_base = [key for key, each in sorted(seen.differing.items()) if each.base]
    if len(in_base) < FROM or run.opening_id is None:
        return None
    scope, look = run.scope, seen.last
    tried = [*islice(in_base, MOST_TRIED), *islice(sorted(seen.agreed), MOST_TRIED)]
    added = work.investigating.read_otherwise(feed.feed_id, scope.level, scope.value, tried, run.opening_id)
    opened = {key: scope.opened[key][1].base for key in tried if key in scope.opened}
    read = {
        reading: {key: EXACT.add(opened.get(key, ZERO), of_key.get(key, ZERO)) for key in tried}
        for reading, of_key in added.items()
    }
    differing = [key for key in tried if key in seen.differing]
    found = clearing({key: look.theirs_of(key).base for key in tried}, read, differing, scope.rules)
    if found is not None:
        log.error(
            "reconcile.reading", feed=feed.name, level=scope.level, value=scope.value, reading=found.reading,
            clears=len(found.keys), of=len(differing),
        )  # fmt: skip
    return found


def said_once(run: Run, seen: Confirmed, findings: Iterable[Finding], found: Clearing) -> list[Finding]:
    """Return the findings with one for all positions that the reading clears."""
    rest = [each for each in findings if not set(keys_of(each)) <= found.keys]
    words = (
        f"{len(found.keys)} of {len(seen.differing)} positions that differ would agree under another reading: "
        f"{found.reading}; ask the vendor, and see the questions for day one in the README"
    )
    figures = {"reading": found.reading, "clears": len(found.keys), "of": len(seen.differing)}
    one = Finding(
        BreakKind.POSITION, f"{run.scope.name} {WORD} {found.reading[:2]}", words, level=run.scope.level,
        level_value=run.scope.value, figures=figures,
    )  # fmt: skip
    return [one, *rest]
