"""Which request meets which fault: by plan, by header, or by chance."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

BROKEN_CONNECTION = frozenset({"refuse", "close_before", "reset_before", "ghost"})
LOST_ANSWER = frozenset({"close_after", "reset_after", "headers_then_silence", "cut_body", "wrong_length"})
OTHER_BODY = frozenset({"html", "object", "null", "wrapped"})
STATUSES = frozenset({"400", "401", "404", "429", "500", "502", "503"})
CHANGED_DELIVERY = frozenset({"gzip", "gzip_cut", "slow_bytes", "foreign_request_id", "no_request_id", "delay"})
PAGE = frozenset({"duplicate_page", "reordered_page", "oversize_page", "second_consumer", "unknown_event", "huge_body"})
FIELD = frozenset({"missing_field", "renamed_field", "retyped_field"})
RESEND = frozenset({"short_resend", "amended_on_resend"})
SESSION = frozenset({"token_expired", "redirect"})
MEANWHILE = frozenset({"execute"})
MEANINGS = (
    (BROKEN_CONNECTION, "nothing is handed out (by a ghost: not yet), and no answer comes"),
    (LOST_ANSWER, "the request is executed, and its answer does not arrive whole"),
    (OTHER_BODY, "the request is executed, and something else is answered with status 200; with _before: not executed"),
    (STATUSES, "this status is answered; with _after the request is executed before, else not"),
    (CHANGED_DELIVERY, "the answer arrives, in another manner"),
    (PAGE, "the queue hands out something odd"),
    (
        FIELD,
        "with a name behind a colon, as in missing_field:side: messages lack it, call it otherwise, change its type",
    ),
    (RESEND, "a resend brings less than it should, or trades with other content"),
    (SESSION, "the session is over before its time, or another address is named"),
    (MEANWHILE, "trades are done right before the answer is made: after whatever the asker did first"),
)
"""What the kinds of a set do."""

KINDS = (
    BROKEN_CONNECTION | LOST_ANSWER | OTHER_BODY | {f"{kind}_before" for kind in OTHER_BODY} | STATUSES
    | {f"{status}_{when}" for status in STATUSES for when in ("before", "after")}
    | CHANGED_DELIVERY | PAGE | FIELD | RESEND | SESSION | MEANWHILE
)  # fmt: skip
BY_CHANCE = tuple(
    sorted(
        (BROKEN_CONNECTION - {"refuse"}) | LOST_ANSWER | OTHER_BODY | {"gzip_cut", "slow_bytes"}
        | {"foreign_request_id", "no_request_id", "duplicate_page", "reordered_page", "token_expired", "redirect"}
        | {f"{status}_{when}" for status in ("429", "500", "502", "503") for when in ("before", "after")}
    )
)  # fmt: skip
"""Faults that chance draws from: each passes within a second, and all that they lose can be asked again."""
TIMED = frozenset({"refuse", "ghost", "headers_then_silence", "slow_bytes", "delay"})
"""Faults that take a while."""
CHANCE_DELAY_S = 0.3


@dataclass(frozen=True)
class Fault:
    """One fault and the requests it is meant for; only requests that are authenticated count."""

    kind: str
    argument: str = ""
    """What stands behind the colon, as in `missing_field:dealtAmount`."""
    endpoint: str = ""
    """`messages`, `resend`, … or `any`; empty: where the kind belongs."""
    user: str | None = None
    nth: int = 1
    """The first matching request that it meets, counted from 1."""
    times: int = 1
    """How many matching requests it meets from there on; 0: all."""
    non_empty: bool = False
    """Only requests of the queue that would be handed something count."""
    delay_s: float | None = None
    """Seconds of silence, of slowness, until a ghost acts, or until the port is open again."""
    count: int | None = None
    """How many trades, for the kinds that concern some."""
    retry_after_s: int = 1
    close: bool = False
    """A ghost's connection is closed at once, instead of being silent until its sender leaves."""

    def meets(self, endpoint: str, user: str | None, *, non_empty: bool) -> bool:
        """Whether a request is one of those it is meant for."""
        wanted = self.endpoint or ("resend" if self.kind in RESEND else "messages")
        return wanted in ("any", endpoint) and self.user in (None, user) and (non_empty or not self.non_empty)

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.argument}" if self.argument else self.kind


def fault_of(values: Mapping[str, Any]) -> Fault:
    """Read a fault of a plan; raises ValueError for one that does not exist."""
    rest = dict(values)
    kind, _, argument = str(rest.pop("fault", "")).partition(":")
    if kind not in KINDS:
        raise ValueError(f"no such fault: {kind}; there are: {', '.join(sorted(KINDS))}")
    if kind in FIELD and not argument:
        raise ValueError(f"{kind} needs the name of a field behind a colon")
    if unknown := sorted(rest.keys() - {each.name for each in fields(Fault)}):
        raise ValueError(f"a fault has no {', '.join(unknown)}")
    for name in ("delay_s", "nth", "times", "count", "retry_after_s"):
        if rest.get(name) is not None:
            rest[name] = float(rest[name]) if name == "delay_s" else int(rest[name])
    rest["close"] = str(rest.get("close", False)).lower() == "true"
    return Fault(kind, argument, **rest)


def fault_of_header(text: str) -> Fault:
    """Read the request header `X-Sandbox-Fault: close_after;delay_s=2`."""
    kind, *settings = text.split(";")
    return fault_of({"fault": kind.strip()} | dict(each.strip().split("=", 1) for each in settings))


@dataclass(slots=True)
class _Planned:
    fault: Fault
    seen: int = 0
    used: int = 0


class Plan:
    """Faults to come; what is used up leaves it."""

    def __init__(self, rate: float = 0.0, seed: int = 1, kinds: Sequence[str] = ()) -> None:
        self._planned: list[_Planned] = []
        self._rate = rate
        self._draw = random.Random(f"faults/{seed}")
        self._kinds = tuple(kinds) or BY_CHANCE

    @property
    def active(self) -> bool:
        """Whether any request may meet a fault that it does not ask for itself."""
        return bool(self._planned) or self._rate > 0

    def add(self, faults: Sequence[Fault]) -> None:
        """Plan more, behind those that are planned."""
        self._planned += [_Planned(fault) for fault in faults]

    def clear(self) -> None:
        """Forget what is planned, and leave nothing to chance."""
        self._planned, self._rate = [], 0.0

    def waiting(self) -> list[str]:
        """Return the names of the faults that are still to come."""
        return [each.fault.name for each in self._planned]

    def choose(self, endpoint: str, user: str | None, *, non_empty: bool) -> Fault | None:
        """Return the fault that this request meets, if any."""
        chosen: _Planned | None = None
        for each in self._planned:
            if each.fault.meets(endpoint, user, non_empty=non_empty):
                each.seen += 1
                if chosen is None and each.seen >= each.fault.nth:
                    chosen = each
        if chosen is not None:
            chosen.used += 1
            if chosen.used == chosen.fault.times:
                self._planned.remove(chosen)
            return chosen.fault
        if self._rate and self._draw.random() < self._rate:
            return self._by_chance(endpoint)
        return None

    def _by_chance(self, endpoint: str) -> Fault | None:
        kind = self._draw.choice(self._kinds)
        fault = fault_of({"fault": kind, "delay_s": CHANCE_DELAY_S if kind in TIMED else None, "close": True})
        return fault if endpoint == "messages" or fault.kind not in PAGE | FIELD | RESEND else None
