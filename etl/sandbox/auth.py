"""Who asks: SSO tokens that expire, or a signature on each request."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from etl.sandbox.options import User

SIGNATURE_AGE = timedelta(minutes=5)
"""How far the Date of a signed request may be from the vendor's clock."""
_AUTHORIZATION = re.compile(
    r'hmac (?:username|userId)="(?P<user>[^"\\]*)", ?algorithm="(?P<algorithm>[^"\\]*)", ?'
    r'headers="(?P<headers>[^"\\]*)", ?signature="(?P<signature>[^"\\]*)"'
)


class RefusedError(Exception):
    """The request is not authenticated; the vendor answers 401 with this reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class _Token:
    user: User
    expires: float


class Tokens:
    """The tokens issued; their life is measured on a clock that nobody can set."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._tokens: dict[str, _Token] = {}

    def issue(self, user: User, life_s: float) -> str:
        """Return a new token of 62 characters, as in the sample of T/tutorialauth."""
        token = secrets.token_urlsafe(48)[:62]
        self._tokens[token] = _Token(user, self._seconds() + life_s)
        return token

    def prolong(self, token: str, life_s: float) -> None:
        """Let a known token live from now on for `life_s`."""
        self._tokens[token].expires = self._seconds() + life_s

    def owner(self, token: str) -> tuple[User, bool]:
        """Return whose token it is, and whether it has expired."""
        known = self._tokens.get(token)
        if known is None:
            raise RefusedError("AuthenticationError.InvalidToken", "The token is unknown")
        return known.user, self._seconds() >= known.expires

    def user_of(self, token: str | None) -> User:
        """Return the user of a token that is valid now."""
        if not token:
            raise RefusedError("AuthenticationError.TokenNotSpecified", "SSO_TOKEN is missing")
        user, expired = self.owner(token)
        if expired:
            raise RefusedError("AuthenticationError.TokenExpired", "The token has expired")
        return user

    def expire(self, token: str | None = None) -> None:
        """End the life of one token, or of all."""
        for each in self._tokens if token is None else (token,):
            if each in self._tokens:
                self._tokens[each].expires = self._seconds()


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature covers: the request line, the headers in lower case, and the body."""

    request_line: str
    headers: Mapping[str, str]
    body: bytes


def user_of_signature(signed: Signed, users: tuple[User, ...], clocks: tuple[datetime, ...]) -> User:
    """Return who signed; the Date has to be near one of the clocks (R, HMAC authentication; A11)."""
    parsed = _AUTHORIZATION.fullmatch(signed.headers.get("authorization", ""))
    if parsed is None or parsed["algorithm"] != "hmac-sha256" or signed.headers.get("type") != "hmac":
        raise RefusedError("AuthenticationError.Malformed", "Authorization is not in the form that is documented")
    names = {user.hmac_user or user.name: user for user in users}
    user = names.get(parsed["user"]) or names.get(parsed["user"].partition("@")[0])
    if user is None:
        raise RefusedError("AuthenticationError.UnknownUser", "The credential is unknown")
    digest = "SHA-256=" + base64.b64encode(hashlib.sha256(signed.body).digest()).decode()
    if not hmac.compare_digest(signed.headers.get("digest", ""), digest):
        raise RefusedError("AuthenticationError.Digest", "Digest is not that of the body")
    _check_date(signed.headers.get("date", ""), clocks)
    key = user.hmac_secret.encode()
    expected = base64.b64encode(hmac.digest(key, _text_to_sign(signed, parsed["headers"]).encode(), "sha256")).decode()
    if not hmac.compare_digest(parsed["signature"], expected):
        raise RefusedError("AuthenticationError.Signature", "The signature does not match")
    return user


def _check_date(text: str, clocks: tuple[datetime, ...]) -> None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError as error:
        raise RefusedError("AuthenticationError.Date", "Date is missing or not a standard UTC string") from error
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    if not any(abs(date - clock) <= SIGNATURE_AGE for clock in clocks):
        raise RefusedError("AuthenticationError.Date", "Date is more than five minutes away")


def _text_to_sign(signed: Signed, names: str) -> str:
    lines = []
    for name in names.split(" "):
        if name == "request-line":
            lines.append(signed.request_line)
        elif name.lower() in signed.headers:
            lines.append(f"{name.lower()}: {signed.headers[name.lower()]}")
        else:
            raise RefusedError("AuthenticationError.Signature", f"The header {name} is signed but absent")
    if "date" not in names.split(" "):
        raise RefusedError("AuthenticationError.Signature", "The header date has to be signed")
    return "\n".join(lines)
