"""Values that never show: what holds a secret, and what takes secrets out of a text."""

from __future__ import annotations

import json
import re
from collections import deque
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from etl.errors import OperatorError

MASK = "********"
SHORTEST_REDACTED = 4  # characters; shorter values would blacken ordinary words
PASSING_KEPT = 256  # session tokens that are still redacted after newer ones came

USER_INFO = re.compile(r"(?<=://)([^\s/@:]*):([^\s/@]+)@")
ASSIGNMENT = re.compile(r"((?:password|passwd|secret|token)=)([^&\s;'\"]+)", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """Return `text` with the passwords in its URLs and `password=` assignments masked."""
    return ASSIGNMENT.sub(rf"\1{MASK}", USER_INFO.sub(rf"\1:{MASK}@", text))


class KnownSecrets:
    """Every secret this process has seen, so that none of them leaves it in a text."""

    def __init__(self) -> None:
        self._kept: tuple[str, ...] = ()
        self._passing: deque[tuple[str, ...]] = deque(maxlen=PASSING_KEPT)

    def keep(self, value: str) -> None:
        """Redact `value` as long as the process lives."""
        fresh = [form for form in forms_of(value) if form not in self._kept]
        if fresh:
            self._kept = (*self._kept, *fresh)

    def pass_by(self, value: str) -> None:
        """Redact `value` until many newer ones have come; for session tokens, which are many."""
        if (forms := forms_of(value)) not in self._passing:
            self._passing.append(forms)

    def redacted(self, text: str) -> str:
        """Return `text` with every known secret, and what looks like credentials in a URL, masked."""
        for value in (*self._kept, *(form for forms in tuple(self._passing) for form in forms)):
            if value in text:
                text = text.replace(value, MASK)
        return without_credentials(text)


def password_in(address: str) -> str:
    """Return the password in an address such as that of a database; empty where there is none."""
    try:
        return unquote(urlsplit(address).password or "")
    except ValueError:
        return ""


def forms_of(value: str) -> tuple[str, ...]:
    """Return the spellings in which `value` may turn up: as it is, quoted by Python, JSON or a URL; longest first."""
    if len(value) < SHORTEST_REDACTED:
        return ()
    spellings = {value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe=""), quote(value)}
    return tuple(sorted(spellings, key=lambda spelling: (-len(spelling), spelling)))


KNOWN_SECRETS = KnownSecrets()


class Secret:
    """A value that shows only where it is asked for by `reveal`, which also makes it known to the redaction."""

    __slots__ = ("_path", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._path: Path | None = None

    @classmethod
    def in_file(cls, path: Path) -> Secret:
        """Return a secret that is read from `path` each time it is used, so that a rotation needs no restart."""
        secret = cls("")
        secret._path = path
        return secret

    def reveal(self) -> str:
        """Return the value itself; raise OperatorError when its file cannot be read any more."""
        value = self._value
        if self._path is not None:
            try:
                value = secret_in(self._path)
            except (OSError, ValueError) as error:
                raise OperatorError(f"secret file {self._path}: {why_unreadable(error)}") from error
        KNOWN_SECRETS.keep(value)
        KNOWN_SECRETS.keep(password_in(value))
        return value

    def __eq__(self, other: object) -> bool:
        """Whether both come from the same file, or are the same value."""
        return isinstance(other, Secret) and (self._path, self._value) == (other._path, other._value)

    def __hash__(self) -> int:
        return hash((self._path, self._value))

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK


def secret_in(path: Path) -> str:
    """Return the one line in the file at `path`; raise OSError, or ValueError when it is not one line of text."""
    value = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    if not value.strip():
        raise ValueError("is empty")
    if "\n" in value:
        raise ValueError("holds more than one line")
    return value


def why_unreadable(error: OSError | ValueError) -> str:
    """Return in words why a file could not be read, without any of its content."""
    match error:
        case UnicodeEncodeError():
            return "cannot be read: its name is no text that can be written"
        case UnicodeError():
            return "is not UTF-8 text"
        case OSError(strerror=str(reason)):
            return f"cannot be read: {reason.lower()}"
        case _:
            return str(error)
