"""Every fault that the sandbox can play (design §8), each met once by a daemon that runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from tests.acceptance.program import until
from tests.simulation.crash import OTHER_BODIES, QUEUE
from tests.simulation.points import NEW, Stage
from tests.simulation.worlds import patiently

BRIEFLY_S = 0.4  # within the stage's `ghost_s`, as A22 says of the vendor
LATER_THAN_SAID_S = 0.9  # than `eligible_after_s` of the stage

Trouble = Callable[[Stage], int]
"""Lets it happen; returns how many trades are Verified no more because of it."""


def on_the_queue(kind: str, stage: Stage) -> int:
    """New trades are done, and the request that takes them meets the fault."""
    plan(stage, {"fault": kind, "non_empty": True, "delay_s": BRIEFLY_S, "close": True})
    stage.done()
    stage.asked("messages")
    stage.handed_out()
    until(lambda: not stage.last_met_a_fault("messages"), what="the next request")
    return 0


def an_empty_queue_looks_like(shape: str, stage: Stage) -> int:
    """From now on (A8)."""
    stage.here.sandbox.control.variant(empty=shape)
    stage.done()
    stage.handed_out()
    return 0


def on_a_resend(kind: str, stage: Stage) -> int:
    """A person asks for the days of all trades again, and the vendor does not do all of it, or changes a trade."""
    plan(stage, {"fault": kind})
    ask_again(stage)
    return 0


def eligible_later_than_said(stage: Stage) -> int:
    """The trades of one resend come after `eligible_after_s` (A12)."""
    control = stage.here.sandbox.control
    usual = control.variant()["eligible_after_s"]
    control.variant(eligible_after_s=LATER_THAN_SAID_S)
    ask_again(stage)
    control.variant(eligible_after_s=usual)
    return 0


def cancelled(stage: Stage) -> int:
    """A booked trade is cancelled, which nobody announces; so it does not come again (A21)."""
    control = stage.here.sandbox.control
    control.cancel(control.trades()[0]["trade_id"])
    ask_again(stage)
    return 1


def second_consumer(stage: Stage) -> int:
    """Somebody else takes new trades (A23); a person who misses them asks for their day."""
    plan(stage, {"fault": "second_consumer", "non_empty": True, "count": NEW})
    stage.done()
    stage.handed_out()
    ask_again(stage)
    return 0


def plan(stage: Stage, fault: Mapping[str, Any]) -> None:
    """Have the next request meet it."""
    stage.here.sandbox.control.plan(fault)


def ask_again(stage: Stage) -> None:
    """Ask the running daemon for a resend of the days of all trades, and wait until the vendor has heard of it."""
    control = stage.here.sandbox.control
    dates = sorted(each["fields"]["tradeDate"] for each in control.trades())
    asked = stage.here.program.call("resend", "--from", dates[0], "--to", dates[-1], "--reason", "the desk misses some")
    assert asked.returncode == 0, asked.stderr

    def heard() -> bool:
        return any(each["endpoint"] == "resend" and each["status"] for each in patiently(control.requests))

    until(heard, what="the resend")


TROUBLES: Mapping[str, Trouble] = MappingProxyType(
    {
        **{kind: partial(on_the_queue, kind) for kind in (*QUEUE, *OTHER_BODIES)},
        **{f"empty_{shape}": partial(an_empty_queue_looks_like, shape) for shape in ("204", "no_body", "chunked")},
        **{kind: partial(on_a_resend, kind) for kind in ("short_resend", "amended_on_resend")},
        **{each.__name__: each for each in (eligible_later_than_said, cancelled, second_consumer)},
    }
)
"""By name. An empty queue that looks like `[]` is what all the others meet."""
