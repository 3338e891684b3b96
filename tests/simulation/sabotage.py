"""Ways to break the product on purpose; all but one of them the simulation must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from etl import app as application
from etl.controls.resend import Resender
from etl.domain.window import Window
from etl.pipeline import doubt, poll
from etl.store.repositories.polls import PollRepository
from tests.simulation import simulation


def no_gap() -> None:
    """A poll that ends in doubt opens no gap; one that a kill left open still does."""
    poll.open_gap = lambda *_, **__: 0  # type: ignore[attr-defined]


def no_gap_after_a_kill() -> None:
    """What a kill left open is marked, and opens no gap."""
    application.open_gap = lambda *_, **__: 0  # type: ignore[attr-defined]


def no_ghost() -> None:
    """A resend is asked at once, though a request that we gave up on may still be executed."""
    simulation.SETTINGS = {**simulation.SETTINGS, "ghost_s": 0}


def no_landing() -> None:
    """A page is closed and the next poll opened, and its bytes are not kept."""
    plain = PollRepository.land_and_open_next

    def forget(self: PollRepository, of: Any, landing: Any, **more: Any) -> Any:
        return plain(self, of, msgspec.structs.replace(landing, body=b"[]", bookable=False), **more)

    PollRepository.land_and_open_next = forget  # type: ignore[method-assign]


def late_window() -> None:
    """The days of a gap begin today, whatever was older in the queue."""

    def from_today(found: Any) -> Window:
        return Window.of(found.now.date(), found.now.date())

    doubt.window_of = from_today  # type: ignore[attr-defined]


def no_eligibility() -> None:
    """A resend counts as complete with the first empty answer, before its trades had to be there.

    The simulation does not find it: whatever comes after that is polled all the same. What is wrong then is the proof,
    which `test_an_empty_answer_too_early_after_acceptance_proves_nothing` looks at.
    """
    plain = Resender.follow

    def at_once(self: Resender, work: Any, resend: Any) -> Any:
        before, self.feed = self.feed, msgspec.structs.replace(self.feed, eligible_after_s=0.0)
        try:
            return plain(self, work, resend)
        finally:
            self.feed = before

    Resender.follow = at_once  # type: ignore[method-assign]


SABOTAGE: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (no_gap, no_gap_after_a_kill, no_ghost, no_landing, late_window, no_eligibility)
}
