"""Sends alerts to a webhook: signed, in bounded time, again with growing pauses, and in nobody's way."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
import structlog

from etl import metrics
from etl.clock import Clock
from etl.config import KNOWN_SECRETS, AlertKind, AlertSettings
from etl.ops.build import PROGRAM, installed_version
from etl.store.repositories.alerts import ClaimedAlert
from etl.store.unit_of_work import OpenWork

MOST_AT_ONCE = 10
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 900.0
CLAIM_BEYOND_S = 5.0  # a sender that is killed holds its alert no longer than this and two requests
HANGING_AT_MOST = 4  # requests that were given up and whose receiver still dribbles
TIDY_EVERY_S = 60.0

log = structlog.get_logger()


class Target(msgspec.Struct, frozen=True):
    """Where alerts go. The secrets are read at each use, so that a rotation needs no restart."""

    url: Callable[[], str]
    secret: Callable[[], str] | None = None
    ca_file: str | None = None
    timeout_s: float = 10.0


class Policy(msgspec.Struct, frozen=True):
    """Whom to tell, of which kinds, until when, and how long what was told is known. Read at each run: SIGHUP may
    change it."""

    target: Target | None
    wanted: Collection[AlertKind]
    give_up_after_s: float = 86_400.0
    retention_days: int = 90


def message(alert: ClaimedAlert) -> dict[str, Any]:
    """Return the alert as Slack, Mattermost and their like take it; `metadata` is for programs."""
    urgent = alert.kind in tuple(AlertKind) and AlertKind(alert.kind).urgent
    counted = f" ({alert.count} times)" if alert.count > 1 else ""
    feed = f", feed {alert.feed}" if alert.feed else ""
    text = shown(f"{'URGENT: ' if urgent else ''}{PROGRAM}{feed}: {alert.words}{counted}")
    own = {"kind": alert.kind, "feed": alert.feed or "all", "at": alert.at.isoformat()}
    given = {**own, **alert.fields, **own}  # first what it is about, and no field of the same name instead
    fields = {k: KNOWN_SECRETS.redacted(v) if isinstance(v, str) else v for k, v in given.items()}
    known = fields | {"id": alert.alert_id, "urgent": urgent, "count": alert.count}
    return {
        "text": text,
        "attachments": [
            {
                "color": "danger" if urgent else "warning",
                "fallback": text,
                "fields": [{"title": shown(k), "value": shown(v), "short": True} for k, v in fields.items()],
            }
        ],
        "metadata": {"event_type": alert.kind.replace(".", "_"), "event_payload": known},
    }


def shown(value: object) -> str:
    """Return the text without secrets, and without what a chat would take for a link or a mention."""
    text = KNOWN_SECRETS.redacted(str(value))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return `t=TIMESTAMP,v1=HEX`: HMAC-SHA256 with the secret, as UTF-8, over timestamp, a full stop and the body."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={signed.hexdigest()}"


def post(target: Target, alert_id: str, body: bytes, now: datetime) -> str | None:
    """Send the body once; return None when the receiver took it, else why not, without the address.

    No redirect is followed, no proxy of the environment is used, the certificate is verified, nothing of the answer
    but its status is read. Raises what reading a secret raises.
    """
    url = target.url()
    KNOWN_SECRETS.keep(urlsplit(url).path)  # of a webhook the path is the key
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": f"{PROGRAM}/{installed_version()}",
        "X-Stp-Etl-Alert": alert_id,
    }
    if target.secret is not None:
        headers["X-Stp-Etl-Signature"] = signature(target.secret(), int(now.timestamp()), body)
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.post(
                url, data=body, headers=headers, timeout=target.timeout_s, allow_redirects=False, stream=True,
                verify=target.ca_file or True,
            )  # fmt: skip
            answer.close()
    except (requests.RequestException, OSError) as error:
        return why(error)
    if answer.is_redirect or 300 <= answer.status_code < 400:
        return f"the receiver answered {answer.status_code}, a redirect, which is not followed"
    return None if answer.ok else f"the receiver answered {answer.status_code}"


def why(error: Exception) -> str:
    """Return in words why the receiver could not be told; the library's own words hold the address."""
    match error:
        case requests.exceptions.SSLError():
            found = re.search(r"certificate verify failed: ([\w' -]+)", str(error))
            said = f" ({found[1].strip()})" if found else ""
            return f"the receiver's certificate is not accepted{said}; a private authority belongs into alerts.ca_file"
        case requests.exceptions.ConnectTimeout():
            return "no connection to the receiver in time"
        case requests.exceptions.Timeout():
            return "no answer of the receiver in time"
        case requests.exceptions.ConnectionError():
            return "the receiver cannot be reached, or hung up"
        case _:
            return f"the request failed: {type(error).__name__}"


class Sending:
    """One request on its way, in a thread that nothing waits for: its time-out begins anew with each byte."""

    def __init__(self, target: Target, alert: ClaimedAlert, clock: Clock) -> None:
        self.over, self.may_take_s = Event(), 2 * target.timeout_s
        self._said: str | None = f"the receiver did not answer within {self.may_take_s:g} s"
        self.thread = Thread(target=self._send, args=(target, alert, clock), name="alert", daemon=True)
        self.thread.start()

    @property
    def fault(self) -> str | None:
        """Why the receiver has not taken it; None when it has."""
        return self._said

    def _send(self, target: Target, alert: ClaimedAlert, clock: Clock) -> None:
        body = json.dumps(message(alert), ensure_ascii=False).encode()
        try:
            self._said = post(target, alert.alert_id, body, clock.now())
        except Exception as error:  # noqa: BLE001  a secret that cannot be read, an address that makes no sense
            self._said = KNOWN_SECRETS.redacted(str(error))
        self.over.set()


class Notifier:
    """A job: sends what waits in the outbox. Any number of instances may run it; each alert has one sender."""

    def __init__(
        self, open_work: OpenWork, clock: Clock, stop: Event, policy: Callable[[], Policy]
    ) -> None:  # fmt: skip
        self._open_work, self._clock, self._stop, self._policy = open_work, clock, stop, policy
        self._tidied_at: float | None = None
        self._hanging: list[Thread] = []

    def __call__(self) -> Mapping[str, int]:
        """Send what is due, until one cannot be sent; return the counts. Raises DatabaseAwayError."""
        policy, sent = self._policy(), 0
        self._tidy(policy)
        while policy.target is not None and sent < MOST_AT_ONCE and not self._stop.is_set():
            self._hanging = [each for each in self._hanging if each.is_alive()]
            alert = (
                self._claim(policy.wanted, policy.target.timeout_s) if len(self._hanging) < HANGING_AT_MOST else None
            )
            if alert is None:
                break
            done, error = self._send(policy.target, alert)
            if not done:
                break  # told to stop: whoever claims it later sends it, under the same id
            self._note(alert, error)
            if error is not None:
                return {"sent": sent, "not_sent": 1}
            sent += 1
        return {"sent": sent}

    def _claim(self, wanted: Collection[AlertKind], timeout_s: float) -> ClaimedAlert | None:
        now = self._clock.now()
        until = now + timedelta(seconds=2 * timeout_s + CLAIM_BEYOND_S)
        with self._open_work() as work:
            alert = work.alerts.claim(wanted, now, until)
            work.commit()
        return alert

    def _send(self, target: Target, alert: ClaimedAlert) -> tuple[bool, str | None]:
        """Return whether the request ended before we are told to stop, and what went wrong with it."""
        sending = Sending(target, alert, self._clock)
        until = self._clock.monotonic() + sending.may_take_s
        while not sending.over.wait(0.1):
            if self._stop.is_set():
                return False, None
            if self._clock.monotonic() > until:
                self._hanging.append(sending.thread)
                break
        return True, sending.fault

    def _note(self, alert: ClaimedAlert, error: str | None) -> None:
        now = self._clock.now()
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(alert.tries - 1, 20), LONGEST_PAUSE_S)
        with self._open_work() as work:
            if error is None:
                work.alerts.sent(alert, now)
            else:
                work.alerts.not_sent(alert, error, now + timedelta(seconds=pause_s))
            work.commit()
        metrics.ALERTS.labels("sent" if error is None else "failed").inc()
        if error is not None:
            log.warning(
                "alert.not_sent", kind=alert.kind, alert_id=alert.alert_id, tries=alert.tries, error=error,
                next_try_s=pause_s,
            )  # fmt: skip

    def _tidy(self, policy: Policy) -> None:
        """Drop what nobody wants to hear or what is too old to help, and forget what was told long ago."""
        if self._tidied_at is not None and self._clock.monotonic() - self._tidied_at < TIDY_EVERY_S:
            return
        now, give_up_after = self._clock.now(), timedelta(seconds=policy.give_up_after_s)
        with self._open_work() as work:
            _, given_up = work.alerts.drop(policy.wanted, older_than=now - give_up_after, at=now)
            work.alerts.forget(now - timedelta(days=policy.retention_days))
            work.commit()
        self._tidied_at = self._clock.monotonic()
        if given_up:
            log.error("alert.given_up", count=given_up, after_s=policy.give_up_after_s)


def policy_of(settings: AlertSettings) -> Policy:
    """Return whom to tell, and of what."""
    return Policy(target_of(settings), settings.wanted, settings.give_up_after_s, settings.retention_days)


def target_of(settings: AlertSettings) -> Target | None:
    """Return where alerts go; None where nobody is to be told."""
    if settings.url is None:
        return None
    secret = settings.secret.reveal if settings.secret is not None else None
    return Target(settings.url.reveal, secret, str(settings.ca_file) if settings.ca_file else None, settings.timeout_s)
