"""The certificate of a trade day: gathers the facts, judges them, keeps what was found with its basis and limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from etl.clock import Clock
from etl.domain.calendar import NEW_YORK, begins_at, closes_at
from etl.domain.certificate import CertificateState, Control, DayFacts, Reason, judge
from etl.errors import OperatorError
from etl.store.repositories.attention import Deed
from etl.store.repositories.sweeps import Sweep
from etl.store.unit_of_work import OpenWork, UnitOfWork

COUNTS = ("trades", "live", "amended", "late", "types")


class CertifiedFeed(msgspec.Struct, frozen=True):
    """What a certificate must know of its feed and of the settings; times of day are in `zone`."""

    feed_id: int
    name: str
    settings_hash: str
    software_version: str
    answers_within_s: float
    """After this long no request of before can be answered any more: the time-outs of the queue call."""
    day_ends: time = time(17)
    zone: ZoneInfo = NEW_YORK
    sweep: bool = True
    controls: tuple[str, ...] = ("positions", "fills")
    level: str = "ORG"
    """Of whom positions are compared at each run."""
    balances: bool = False
    limits: Mapping[str, Any] = {}


class Certificate(msgspec.Struct, frozen=True):
    """What was certified. `sha256` is over everything else in it but the signatures, which come later."""

    certificate_id: int
    feed: str
    trade_date: date
    number: int
    state: CertificateState
    issued_at: datetime
    issued_by: str
    reasons: tuple[Reason, ...]
    counts: Mapping[str, Any]
    sums: tuple[Mapping[str, str], ...]
    basis: Mapping[str, Any]
    difference: Mapping[str, Any]
    cited: tuple[Any, ...]
    trades_sha256: str
    settings_hash: str
    software_version: str
    sha256: str
    signatures: tuple[Mapping[str, Any], ...] = ()
    """Who signed it, when and with which comment, the first one first."""


class Certifier:
    """Issues the certificates of one feed. Asks the database only, never the vendor."""

    def __init__(self, feed: CertifiedFeed, open_work: OpenWork, clock: Clock) -> None:
        self._feed = feed
        self._open_work = open_work
        self._clock = clock

    def closes_at(self, day: date) -> datetime:
        """Return the instant at which the trade day ends (design §6)."""
        return closes_at(day, self._feed.day_ends, self._feed.zone)

    def begins_at(self, day: date) -> datetime:
        """Return the instant at which the trade day begins; of what comes later nothing can be certified."""
        return begins_at(day, self._feed.day_ends, self._feed.zone)

    def issue(self, day: date, operator: str) -> Certificate:
        """Judge the day and keep the certificate; its number is one above the one before, which it supersedes."""
        at = self._clock.now()
        with self._open_work() as work:
            sweep = work.sweeps.sweep_of(self._feed.feed_id, day, self.closes_at(day))
            facts, runs = self._facts(work, day, at, sweep)
            state, reasons = judge(facts)
            trades = work.certificates.trades(self._feed.feed_id, day, facts.closes_at)
            before = work.certificates.last(self._feed.feed_id, day)
            content: dict[str, Any] = {
                "feed_id": self._feed.feed_id, "trade_date": day, "number": before["number"] + 1 if before else 1,
                "state": state.value, "issued_at": at, "issued_by": operator,
                "reasons": msgspec.to_builtins(reasons), "counts": trades.counts, "sums": trades.sums,
                "basis": self._basis(work, facts, runs, sweep),
                "cited": [each for chosen in runs.values() for run in chosen for each in run["cited"]],
                "trades_sha256": trades.sha256, "settings_hash": self._feed.settings_hash,
                "software_version": self._feed.software_version,
            }  # fmt: skip
            content["difference"] = difference(before, content)
            content["sha256"] = hashlib.sha256(canonical(content)).digest()
            number = work.certificates.issue(content)
            details = {"state": state.value, "number": content["number"]}
            deed = Deed(at, operator, "certify", f"trade date {day}", self._feed.name, f"certificate {number}", details)
            work.attention.record(deed)
            work.commit()
        return told(self._feed.name, number, content)

    def sign(
        self, day: date, *, signed_as: str, operator: str, comment: str | None
    ) -> tuple[Certificate, bool]:  # fmt: skip
        """Put a name to the last certificate of the day; return it, and whether the name is new to it.

        A name that it has already changes nothing. Raises OperatorError where there is no certificate.
        """
        at = self._clock.now()
        with self._open_work() as work:
            last = work.certificates.last(self._feed.feed_id, day)
            if last is None:
                raise OperatorError(
                    f"feed {self._feed.name}: {day} has no certificate yet; issue one: "
                    f"stp-etl certify --trade-date {day}"
                )
            signatures = work.certificates.signatures(last["id"])
            if signed_as in {each["signed_as"] for each in signatures}:
                return told(self._feed.name, last["id"], last, signatures), False
            work.certificates.sign(last["id"], signed_as=signed_as, at=at, operator=operator, comment=comment)
            deed = Deed(at, operator, "certify --sign-off", comment or f"signed as {signed_as}", self._feed.name,
                        f"certificate {last['id']}",
                        {"as": signed_as, "state": last["state"], "reasons": len(last["reasons"])})  # fmt: skip
            work.attention.record(deed)
            signatures = work.certificates.signatures(last["id"])
            work.commit()
        return told(self._feed.name, last["id"], last, signatures), True

    def _facts(
        self, work: UnitOfWork, day: date, at: datetime, sweep: Sweep
    ) -> tuple[DayFacts, dict[str, list[dict[str, Any]]]]:
        feed_id, closes = self._feed.feed_id, self.closes_at(day)
        begins = self.begins_at(day)
        surely_later = closes + timedelta(seconds=self._feed.answers_within_s)
        names = ("positions", "fills", *(("balances",) if self._feed.balances else ()))
        stands = {
            name: work.certificates.control(
                feed_id, name, day, closes, wanted=name in self._feed.controls,
                level=self._feed.level if name == "positions" else None,
            )
            for name in names
        }  # fmt: skip
        controls: tuple[Control, ...] = tuple(control for control, _ in stands.values())
        facts = DayFacts(
            feed=self._feed.name, trade_date=day, now=at, closes_at=closes,
            proven_at=work.certificates.proven_at(feed_id, closes, surely_later), sweep_wanted=self._feed.sweep,
            sweep=sweep.state, sweep_why=sweep.why, doubts=work.certificates.doubts(feed_id, begins),
            under_way=work.certificates.under_way(feed_id), unbooked=work.certificates.unbooked(feed_id),
            gaps=work.certificates.gaps(feed_id, day), breaks=work.certificates.breaks(feed_id, day),
            exceptions=work.certificates.exceptions(feed_id, day, begins), controls=controls,
        )  # fmt: skip
        return facts, {name: chosen for name, (_, chosen) in stands.items() if chosen}

    def _basis(
        self, work: UnitOfWork, facts: DayFacts, runs: Mapping[str, Sequence[Mapping[str, Any]]], sweep: Sweep
    ) -> dict[str, Any]:
        """Return what the certificate rests on, and what it does not cover."""
        opened = {number for chosen in runs.values() for run in chosen for number in _openings_of(run)}
        return {
            "closes_at": facts.closes_at.isoformat(),
            "proven_empty_at": facts.proven_at.isoformat() if facts.proven_at else None,
            "sweep": {
                "state": sweep.state.value, "resends": list(sweep.resend_ids), "received": sweep.received,
                "recovered": sweep.recovered, "duplicates": sweep.duplicates, "absent": sweep.absent,
                "excused": sweep.excused,
            },
            "controls": {
                name: {**_told_of(first), "others": [_told_of(each) for each in others]}
                for name, (first, *others) in runs.items()
            },
            "openings": work.certificates.openings(opened),
            "not_wanted": [control.name for control in facts.controls if not control.wanted],
            "closed_by_hand": work.certificates.closed_by_hand(self._feed.feed_id, facts.trade_date),
            "limits": dict(self._feed.limits),
        }  # fmt: skip


def _told_of(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run as the basis of a certificate names it."""
    return {
        "run": run["id"], "as_of": run["as_of"].isoformat(), "result": run["result"], "compared": run["compared"],
        "agreed": run["agreed"], "rules": run["rules"], "basis": run["basis"],
    }  # fmt: skip


def _openings_of(run: Mapping[str, Any]) -> list[int]:
    """Return the openings that a run of positions, or one of balances, counts from."""
    several: list[int] = run["basis"].get("openings", [])
    return several if run["basis"].get("opening") is None else [run["basis"]["opening"]]


def told(
    feed: str, number: int, content: Mapping[str, Any], signatures: Sequence[Mapping[str, Any]] = ()
) -> Certificate:  # fmt: skip
    """Return a kept certificate as it is told."""
    return Certificate(
        number, feed, content["trade_date"], content["number"], CertificateState(content["state"]),
        content["issued_at"], content["issued_by"], tuple(Reason(**each) for each in content["reasons"]),
        in_words_order(content["counts"]), tuple(content["sums"]), content["basis"], content["difference"],
        tuple(content["cited"]), bytes(content["trades_sha256"]).hex(), content["settings_hash"],
        content["software_version"], bytes(content["sha256"]).hex(), tuple(signatures),
    )  # fmt: skip


def in_words_order(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the counts in one order, as the database forgets it."""
    first = {name: counts[name] for name in COUNTS if name in counts}
    rest = {name: counts[name] for name in sorted(counts.keys() - first.keys())}
    return {
        name: dict(sorted(each.items())) if isinstance(each, Mapping) else each for name, each in (first | rest).items()
    }


def difference(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """Return what differs from the certificate that is superseded: before and after; nothing where there is none."""
    if before is None:
        return {}
    old, new = ({each["detail"] for each in one["reasons"]} for one in (before, now))
    found: dict[str, Any] = {
        name: {"before": before[name], "now": now[name]}
        for name in ("state", "counts", "sums", "settings_hash", "software_version")
        if before[name] != now[name]
    }
    if bytes(before["trades_sha256"]) != bytes(now["trades_sha256"]):
        found["trades_sha256"] = {
            name: bytes(each["trades_sha256"]).hex() for name, each in (("before", before), ("now", now))
        }
    return found | {
        name: sorted(each) for name, each in (("reasons_gone", old - new), ("reasons_new", new - old)) if each
    }


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return the content as bytes that are the same for the same content."""

    def plain(value: object) -> object:
        return value.hex() if isinstance(value, bytes) else str(value)

    return json.dumps(content, sort_keys=True, ensure_ascii=True, default=plain).encode()
