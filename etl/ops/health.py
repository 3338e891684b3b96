"""Is the daemon alive, and may it be relied on? Each part by name, with its reason, in bounded time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Event, Lock, Thread

import msgspec

from etl.clock import Clock
from etl.config import KNOWN_SECRETS
from etl.jobs import Beats
from etl.store.repositories.figures import FeedFigures

BEATS_MISSED = 3
ANSWER_WITHIN_S = 2.0
GOOD_FOR_S = 1.0  # so that no number of readers asks the database more often

Check = Callable[[], str]
"""Returns a word about what is sound; raises with a sentence about what is not."""


class Part(msgspec.Struct, frozen=True):
    """One part of the daemon. Without a `needed` part it is not ready."""

    ok: bool
    reason: str
    needed: bool = True


class Probe:
    """Checks that may hang, run beside; whoever asks has an answer within a time, and one check runs at a time.

    They are made from the last to the first, and one that hangs holds up those still to come: what asks nobody
    stands last.
    """

    def __init__(self, checks: Mapping[str, Check], clock: Clock, within_s: float = ANSWER_WITHIN_S) -> None:
        self._checks, self._clock, self._within_s = checks, clock, within_s
        self._lock = Lock()
        self._done: Event | None = None
        self._found: dict[str, Part] = {}
        self._looked: dict[str, Part] = {}
        self._found_at = 0.0

    def answer(self) -> Mapping[str, Part]:
        """Return each part as it stands; one that does not answer in time is not sound."""
        with self._lock:
            fresh = bool(self._found) and self._clock.monotonic() - self._found_at < GOOD_FOR_S
            if not fresh and (self._done is None or self._done.is_set()):
                self._done, self._looked = Event(), {}
                look = Thread(target=self._look, args=(self._done, self._looked), name="readiness", daemon=True)
                look.start()
            done, looked = self._done, self._looked
        if fresh or (done is not None and done.wait(self._within_s)):
            return self._found
        silent = Part(False, f"no answer within {self._within_s:g} s")
        return {name: looked.get(name, silent) for name in self._checks}

    def _look(self, done: Event, looked: dict[str, Part]) -> None:
        for name in reversed(tuple(self._checks)):
            looked[name] = _checked(self._checks[name])
        self._found = {name: looked[name] for name in self._checks}
        self._found_at = self._clock.monotonic()
        done.set()


class Health:
    """What the pages say. Liveness asks neither database nor vendor; readiness never asks the vendor."""

    def __init__(
        self, beats: Beats, clock: Clock, probe: Probe, *, heartbeat_s: float,
        is_stale: Callable[[datetime, datetime], bool], feeds: Callable[[], Mapping[str, bool]],
        figures: Callable[[], tuple[FeedFigures, ...]],
    ) -> None:  # fmt: skip
        """Take what is known. `feeds` are ours by name, and whether we lead them; `figures` is the last look.

        `is_stale` judges when a feed's last good answer came, at an instant, by the hours of the market.
        """
        self._beats, self._clock, self._probe = beats, clock, probe
        self._heartbeat_s, self._is_stale = heartbeat_s, is_stale
        self._feeds, self._figures = feeds, figures

    def live(self) -> list[str]:
        """Return what keeps the daemon from getting on, in sentences; none while it starts or stops in order."""
        if self._beats.phase != "ready":
            return []
        return list(self._stuck())

    def _stuck(self) -> Iterator[str]:
        if (silent_s := self._beats.beat_age_s) > BEATS_MISSED * self._heartbeat_s:
            yield f"the main loop has missed {BEATS_MISSED} beats: none for {silent_s:.0f} s"
        for state in self._beats.jobs():
            if state.job.vital and state.hangs:
                yield f"job {state.job.name} hangs: no progress for {state.stuck_s:.0f} s"
            if state.overdue:
                yield f"job {state.job.name} is overdue: not begun for {state.idle_s:.0f} s; the scheduler is stuck"

    def ready(self) -> Mapping[str, Part]:
        """Return every part; the daemon is ready when all needed ones are sound.

        A standby is ready, and so is an instance whose vendor is away: another one could do no better.
        """
        phase, waiting_for = self._beats.phase, self._beats.waiting_for
        daemon = Part(phase == "ready", f"{phase}: {waiting_for}" if waiting_for else phase, needed=False)
        known = {each.feed: each for each in self._figures()}
        feeds = {f"feed {name}": self._feed(leads, known.get(name)) for name, leads in self._feeds().items()}
        return {**self._probe.answer(), "daemon": daemon, **feeds}

    def _feed(self, leads: bool, found: FeedFigures | None) -> Part:
        role = "leads" if leads else "standby"
        if found is None:
            return Part(False, f"{role}; not looked at yet", needed=False)
        if found.last_good_at is None:
            return Part(False, f"{role}; {found.state}; the vendor never gave a good answer", needed=False)
        now = self._clock.now()
        age_s = max(0.0, (now - found.last_good_at).total_seconds())
        fresh = not self._is_stale(found.last_good_at, now)
        reason = f"{role}; {found.state}; the vendor's last good answer came {age_s:.0f} s ago"
        return Part(fresh or found.state == "paused", reason, needed=False)


def _checked(check: Check) -> Part:
    try:
        return Part(True, check())
    except Exception as error:  # noqa: BLE001  whatever is wrong, the page says so
        sentence = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return Part(False, KNOWN_SECRETS.redacted(sentence))
