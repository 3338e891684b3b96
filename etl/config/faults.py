"""What is wrong with the settings, one line a fault: path, value unless it is secret, what is allowed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from etl.config.secret import KNOWN_SECRETS

Path = tuple[str, ...]

SECRET_KEYS = frozenset({"url", "password", "secret"})  # each may be given as a file: KEY_file
UNITS = {"_s": "seconds", "_mib": "MiB", "_days": "days", "_size": "", "_units": "minor units", "_digits": "digits"}
LONGEST_SHOWN = 200  # a path is worth all of it
KINDS = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": 'must be a list, such as ["A", "B"]',
    "path_type": "must be a path in quotes",
    "is_instance_of": "must be text in quotes",
    "time_type": "must be a time of day such as 17:00",
    "string_too_short": "must not be empty",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "must not hold blanks or characters that are not allowed here",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "mapping_type": "must be a table",
    "dict_type": "must be a table",
}
TABLE_EXPECTED = frozenset({"model_type", "model_attributes_type", "mapping_type", "dict_type"})


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where, what is allowed instead, and the value in the form in which it may be shown."""

    path: Path
    text: str
    value: str | None = None

    def line(self, origins: Mapping[Path, str]) -> str:
        """Return the fault as a line; `origins` tells which environment variable set the key, if one did."""
        shown = "" if self.value is None else f" = {self.value}"
        origin = origins.get(self.path, "")
        return f"{dotted(self.path)}{shown}{f' ({origin})' if origin else ''}: {self.text}"


def dotted(path: Path) -> str:
    """Return the path as the user writes it: feeds.main.own_orgs[0]."""
    return ".".join(path).replace(".[", "[")


def shown(path: Path, value: object) -> str | None:
    """Return `value` as it stood in the settings, or None when it is secret, or too large a thing to show."""
    key = next((part for part in reversed(path) if not part.startswith("[")), "")
    if key in SECRET_KEYS or not isinstance(value, str | int | float):
        return None
    text = json.dumps(KNOWN_SECRETS.redacted(value), ensure_ascii=False) if isinstance(value, str) else plain(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def plain(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def unknown(path: Path, known: Iterable[str], what: str = "key") -> Fault:
    """Return the fault of a name that nobody knows, with the nearest one that is known."""
    near = get_close_matches(path[-1], list(known), n=1)
    return Fault(path, f"unknown {what}" + (f"; did you mean {near[0]}?" if near else ""))


def fault_from(error: ErrorDetails, known: Mapping[str, FieldInfo]) -> Fault:
    """Translate what pydantic found; `known` are the keys of the table in which it was found."""
    path = tuple(f"[{part}]" if isinstance(part, int) else str(part) for part in error["loc"] if part != "[key]")
    kind = error["type"]
    match kind:
        case "extra_forbidden":
            return unknown(path, known)
        case "missing":
            meaning = known[path[-1]].description if path[-1] in known else None
            return Fault(path, f"is missing: {meaning}" if meaning else "is missing")
        case "value_error":
            return Fault(path, str(error["ctx"]["error"]), shown(path, error["input"]))
        case _:
            value = None if kind in TABLE_EXPECTED else shown(path, error["input"])
            return Fault(path, allowed(kind, error.get("ctx", {}), path) or error["msg"], value)


def allowed(kind: str, context: Mapping[str, Any], path: Sequence[str]) -> str | None:
    """Return what a value may be where pydantic reported `kind`; None for what is not in our tables."""
    match kind:
        case "greater_than_equal":
            return f"must be at least {number(context['ge'])}{unit_of(path)}"
        case "less_than_equal":
            return f"must be at most {number(context['le'])}{unit_of(path)}"
        case "literal_error":
            choices = context["expected"].replace("'", '"').replace(" or ", ", ")
            return f"must be one of {choices}"
        case _:
            return KINDS.get(kind)


def number(bound: float) -> str:
    return f"{bound:g}" if abs(bound) < 1_000_000 else f"{bound:.0f}"


def unit_of(path: Sequence[str]) -> str:
    """Return the unit that the key's name carries, in brackets; empty where it carries none."""
    for key in reversed(path):
        for suffix, unit in UNITS.items():
            if key.endswith(suffix) or f"{suffix}_" in f"{key}_":
                return f" ({unit})" if unit else ""
    return ""
