"""Which text the database can hold, and foreign values as text for people."""

from __future__ import annotations

import json
import re

LONGEST_SHOWN = 200
"""Characters of a value that a fault or an exception item shows."""

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether Postgres' text and jsonb can hold it: no NUL character, no lone surrogate."""
    return text.isprintable() or _UNSTORABLE.search(text) is None


def storable(text: str | None) -> str | None:
    """Return the text with each character that Postgres cannot hold written as an escape."""
    return text if text is None or is_storable(text) else _UNSTORABLE.sub(_escaped, text)


def has_control_characters(text: str) -> bool:
    """Return whether it holds control characters or lone surrogates."""
    return not text.isprintable() and _CONTROL.search(text) is not None


def shown(value: object) -> str:
    """Return any JSON value as one short line; what cannot be stored or seen is written as an escape."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _CONTROL.sub(_escaped, text[:LONGEST_SHOWN])[:LONGEST_SHOWN]


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
