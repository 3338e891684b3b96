"""HMAC authentication: which text is signed, and how the signature is written (A11)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from email.utils import format_datetime

SIGNED_HEADERS = "request-line date digest"


def signed_headers(user: str, secret: str, *, request_line: str, body: bytes, at: datetime) -> dict[str, str]:
    """Return the four headers that authenticate one request sent at the instant `at`.

    `request_line` is the first line of the request without its line end, such as
    `GET /v2/trades/stp/messages?maxCount=50 HTTP/1.1`. The secret is used as UTF-8 text
    (source: integral-api.md §2.3; assumption A11).
    """
    date = format_datetime(at.astimezone(UTC), usegmt=True)
    digest = "SHA-256=" + _base64(hashlib.sha256(body).digest())
    signature = _base64(hmac.digest(secret.encode(), text_to_sign(request_line, date, digest).encode(), "sha256"))
    # comma without blank behind the user, comma and blank elsewhere: the vendor's grammar
    authorization = (
        f'hmac username="{user}",algorithm="hmac-sha256", headers="{SIGNED_HEADERS}", signature="{signature}"'
    )
    return {"Authorization": authorization, "Date": date, "Digest": digest, "type": "hmac"}


def text_to_sign(request_line: str, date: str, digest: str) -> str:
    """Return the text that the signature covers: one line a header in the order of `SIGNED_HEADERS`, none ended.

    The request line stands bare, every other header behind its name in lower case, a colon and a blank.
    """
    return f"{request_line}\ndate: {date}\ndigest: {digest}"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
