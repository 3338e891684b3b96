"""What of a request and its answer may be shown, and how."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"
HIDDEN_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie", "sso_token"})
_NAMED = re.compile(
    r"""(?ix)
    ( (?: sso_token | authorization | \b pass (?:word)? \b | \b secret \b ) ["']? \s* [:=] \s* )
    ( "(?:[^"\\]|\\.)*" | '[^']*' | hmac\s[^\r\n]* | [^\s"',;}]+ )
    """
)


def shown_headers(headers: Iterable[tuple[str, str]]) -> list[str]:
    """Return one line a header; the values of those that authenticate are hidden."""
    return [f"{name}: {HIDDEN if name.lower() in HIDDEN_HEADERS else value}" for name, value in headers]


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return the text with every known secret hidden, and whatever stands behind the name of one.

    A secret is found as it is, as JSON writes it, and as a URL writes it.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            for form in {secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe=""), quote_plus(secret)}:
                text = text.replace(form, HIDDEN)
    return _NAMED.sub(rf"\1{HIDDEN}", text)
