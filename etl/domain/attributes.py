"""The fields that have no column, in a form that the database can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etl.domain.payload import is_number
from etl.domain.text import is_storable, shown


def attributes_of(fields: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields unchanged but for numbers, which become their text, and the names of those left out.

    Left out is what Postgres' jsonb cannot hold, a NUL character or a lone surrogate anywhere inside; the names
    are sorted, and such characters in a name are shown as escapes (A6).
    """
    kept: dict[str, Any] = {}
    omitted: list[str] = []
    for name, value in fields.items():
        plain = value if type(value) is str else _plain(value)
        if is_storable(name) and _is_storable(plain):
            kept[name] = plain
        else:
            omitted.append(shown(name))
    return kept, tuple(sorted(omitted))


def _plain(value: Any) -> Any:
    if is_number(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(child) for name, child in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(child) for child in value]
    return value


def _is_storable(value: Any) -> bool:
    if type(value) is str:
        return is_storable(value)
    if type(value) is dict:
        return all(is_storable(name) and _is_storable(child) for name, child in value.items())
    return type(value) is not list or all(map(_is_storable, value))
