"""Login, token renewal, signing: how the vendor knows who asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import RLock
from typing import Any

import msgspec
import requests

from etl.clock import Clock
from etl.config import KNOWN_SECRETS
from etl.errors import VendorAwayError, VendorRefusedError
from etl.vendor.asking import raise_unless_answered, request_to
from etl.vendor.endpoint import Endpoint
from etl.vendor.outcome import words_of
from etl.vendor.redaction import without_secrets
from etl.vendor.signing import signed_headers
from etl.vendor.transport import Exchange, Wire

LOGIN_PATH = "/v2/sso/login"
TOKEN_HEADER = "SSO_TOKEN"
RENEW_EARLY = 0.2
RENEW_EARLY_AT_MOST_S = 30.0
LIFE_UNKNOWN_S = 60.0
"""Life of a token whose answer does not tell it: that of the vendor's sample (integral-api.md §2.1)."""
_TOKEN = re.compile(r"[!-+\--:<-~]+")  # printable ASCII without blank, comma and semicolon


class Grant(msgspec.Struct, frozen=True):
    """A token and its life, in seconds of `Clock.monotonic`.

    `anchor_at` on our clock and `anchor_ms` on the vendor's are one instant: the `expiryTime` of a renewal, which
    comes without `serverUTCTime`, is counted from there.
    """

    token: str
    issued_at: float
    ends_at: float
    anchor_at: float
    anchor_ms: float | None

    def __repr__(self) -> str:
        return f"Grant(issued_at={self.issued_at}, ends_at={self.ends_at})"

    @property
    def life_s(self) -> float:
        """Return how long the token serves in all."""
        return self.ends_at - self.issued_at

    @property
    def renew_at(self) -> float:
        """Return when it is time to renew: a fifth of the life before its end, at most 30 s."""
        return self.ends_at - min(RENEW_EARLY * self.life_s, RENEW_EARLY_AT_MOST_S)


class Refusal(msgspec.Struct, frozen=True):
    """The vendor said no to a login: with which password, and until when the same is not tried again."""

    password: str
    said: str
    pause_s: float
    until: float

    def __repr__(self) -> str:
        return f"Refusal(pause_s={self.pause_s}, until={self.until})"


class Session:
    """One download user's right to ask: a token that is kept alive, or a secret to sign with (A10, A11)."""

    def __init__(self, endpoint: Endpoint, clock: Clock, wire: Wire, new_id: Callable[[], str]) -> None:
        self.endpoint, self._clock, self._wire, self._new_id = endpoint, clock, wire, new_id
        self._lock = RLock()
        self._grant: Grant | None = None
        self._signing_secret: str | None = None
        self._known_secrets: tuple[str, ...] = ()
        self._refusal: Refusal | None = None

    def ensure(self) -> None:
        """Log in or renew when that is due.

        Raises VendorRefusedError when the vendor does not accept the credentials or they cannot be read,
        VendorAwayError and VendorThrottledError when it does not answer for now.
        """
        with self._lock:
            if self.endpoint.auth == "hmac":
                if self._signing_secret is None:
                    self._signing_secret = self._read(self.endpoint.secret, "secret")
            elif self._grant is None:
                self._grant = self._login()
            elif self._clock.monotonic() >= self._grant.renew_at:
                self._grant = self._renewed(self._grant) or self._login()

    def forget(self, token: str | None = None) -> None:
        """Drop what we hold, so that `ensure` begins anew; with a token only if it is still the one in use."""
        with self._lock:
            if token is None or self._grant is None or self._grant.token == token:
                self._grant, self._signing_secret = None, None

    def authorise(self, request: requests.PreparedRequest) -> bool:
        """Put the headers on the request that say who asks; return False when there is no session."""
        with self._lock:
            if self.endpoint.auth == "hmac":
                if self._signing_secret is None:
                    return False
                line = f"{request.method} {request.path_url} HTTP/1.1"
                body = request.body if isinstance(request.body, bytes) else b""
                user, secret, now = self.endpoint.user, self._signing_secret, self._clock.now()
                request.headers.update(signed_headers(user, secret, request_line=line, body=body, at=now))
                return True
            if self._grant is None:
                return False
            request.headers[TOKEN_HEADER] = self._grant.token
            return True

    def hide(self, text: str) -> str:
        """Return the text without the secrets that this session sent or was sent of late, and all others we know."""
        return KNOWN_SECRETS.redacted(without_secrets(text, self._known_secrets))

    def _login(self) -> Grant:
        password = self._read(self.endpoint.password, "password")
        refused = self._refusal
        if refused is not None and refused.password == password and self._clock.monotonic() < refused.until:
            raise VendorRefusedError(refused.said)
        who = {"user": self.endpoint.user, "pass": password, "org": self.endpoint.org}
        started_at = self._clock.monotonic()
        try:
            exchange = self._exchange(request_to(self.endpoint, "POST", LOGIN_PATH, body=msgspec.json.encode(who)))
        except VendorRefusedError as error:
            self._refusal = self._refused(password, str(error))
            raise
        self._refusal = None
        token, said = token_of(exchange), _said(exchange)
        if token is None:
            raise VendorRefusedError(
                self.hide(f"the login answer holds no {TOKEN_HEADER}, neither as header nor as cookie: {_errors(said)}")
            )
        server_ms, expiry_ms = _milliseconds(said, "serverUTCTime"), _milliseconds(said, "expiryTime")
        life_s = (expiry_ms - server_ms) / 1000 if expiry_ms is not None and server_ms is not None else 0.0
        ends_at = started_at + (life_s if life_s > 0 else LIFE_UNKNOWN_S)
        self._remember(token)
        return Grant(token, started_at, ends_at, started_at, server_ms)

    def _refused(self, password: str, said: str) -> Refusal:
        """Return for how long this password is not tried again: vendors lock users out who try too often."""
        before, pause_s = self._refusal, self.endpoint.pause_min_s
        if before is not None and before.password == password:
            pause_s = min(before.pause_s * 2, self.endpoint.pause_max_s)
        return Refusal(password, said, pause_s, self._clock.monotonic() + pause_s)

    def _refuse_login(self, exchange: Exchange) -> None:
        """Raise VendorRefusedError with what to do when the vendor said no to the login."""
        if exchange.status is None or not 400 <= exchange.status < 500 or exchange.status == 429:
            return
        who = f"user {self.endpoint.user} of organisation {self.endpoint.org}"
        words = ": ".join(filter(None, words_of(exchange)))
        what = "check base_url" if exchange.status == 404 else "check user, org and the password (or its file)"
        told = f"status {exchange.status}{': ' if words else ''}{words}"
        raise VendorRefusedError(self.hide(f"the vendor refused the login of {who} ({told}); {what}"))

    def _renewed(self, grant: Grant) -> Grant | None:
        """Return the grant with its new end, or None when only a login can help.

        A new token replaces the old one. Its life, or the old token's longer life, ends at the answer's `expiryTime`,
        put on our clock by the instant that the login told on both. Without a readable `expiryTime` a new token gets
        the life of the one before, and an old token counts as not renewed (A10).
        """
        started_at = self._clock.monotonic()
        request = request_to(self.endpoint, "GET", self.endpoint.renew_path)
        request.headers[TOKEN_HEADER] = grant.token
        try:
            exchange = self._exchange(request)
        except (VendorAwayError, VendorRefusedError):
            return None  # the login that follows says what is wrong, if it still is
        token, said = token_of(exchange), _said(exchange)
        if token is None and (said.get("valid") is False or said.get("expired") is True):
            return None
        anchor_at, anchor_ms = grant.anchor_at, grant.anchor_ms
        if (server_ms := _milliseconds(said, "serverUTCTime")) is not None:
            anchor_at, anchor_ms = started_at, server_ms
        expiry_ms = _milliseconds(said, "expiryTime")
        ends_at = started_at
        if expiry_ms is not None and anchor_ms is not None:
            ends_at = anchor_at + (expiry_ms - anchor_ms) / 1000
        if token is None:
            if ends_at <= grant.ends_at:
                return None
        elif ends_at <= started_at:
            ends_at = started_at + grant.life_s
        self._remember(token or grant.token)
        return Grant(token or grant.token, started_at, ends_at, anchor_at, anchor_ms)

    def _exchange(self, request: requests.PreparedRequest) -> Exchange:
        request_id = self._new_id()
        request.headers["X-Request-ID"] = request_id
        exchange = self._wire.send(request)
        if request.method == "POST":
            self._refuse_login(exchange)
        raise_unless_answered(exchange, request_id, now=self._clock.now(), hide=self.hide)
        return exchange

    def _read(self, secret: Callable[[], str], name: str) -> str:
        try:
            value = secret()
        except OSError as error:
            raise VendorRefusedError(
                f"the {name} of user {self.endpoint.user} cannot be read: {error.strerror}; check {name}_file"
            ) from error
        self._remember(value)
        return value

    def _remember(self, secret: str) -> None:
        """Know the last few secrets, to hide them wherever the vendor repeats them, and in every log line."""
        KNOWN_SECRETS.pass_by(secret)
        self._known_secrets = tuple(dict.fromkeys((secret, *self._known_secrets)))[:8]


def token_of(exchange: Exchange) -> str | None:
    """Return the token of an answer: from the header of that name, else from the first cookie of that name (A10)."""
    cookies = [each.split(";")[0].partition("=") for each in exchange.headers.getlist("Set-Cookie")]
    found = [exchange.headers.get(TOKEN_HEADER, "")]
    found += [value.strip().strip('"') for name, _, value in cookies if name.strip() == TOKEN_HEADER]
    return next((token for token in found if _TOKEN.fullmatch(token)), None)


def _said(exchange: Exchange) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _milliseconds(said: dict[str, Any], name: str) -> float | None:
    value = said.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _errors(said: dict[str, Any]) -> str:
    return f"status {said.get('status')}, errorCode {said.get('errorCode')}"
