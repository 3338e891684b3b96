"""What a fault does to the messages of a page before they are sent."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from etl.sandbox.exact import text_of, value_of
from etl.sandbox.faults import Fault
from etl.sandbox.queues import Item

HUGE = 5_000_000
"""Characters of the note in a huge body."""

Change = Callable[[dict[str, Any]], dict[str, Any]]


def damaged(items: list[Item], fault: Fault) -> list[Item]:
    """Return the messages with the first `count` of them, or all, changed as the fault wants it."""
    change = _change_of(fault)
    if change is None:
        return items
    count = len(items) if fault.count is None else fault.count
    return [_changed(item, change) for item in items[:count]] + items[count:]


def _change_of(fault: Fault) -> Change | None:
    name = fault.argument
    match fault.kind:
        case "missing_field":
            return lambda payload: {key: value for key, value in payload.items() if key != name}
        case "renamed_field":
            old, _, new = name.partition("=")
            return lambda payload: {new if key == old else key: value for key, value in payload.items()}
        case "retyped_field":
            return lambda payload: payload | ({name: _retyped(payload[name])} if name in payload else {})
        case "unknown_event":
            return lambda payload: payload | {"event": name or "CORRECT"}
        case "huge_body":
            return lambda payload: payload | {"note": "x" * HUGE}
        case _:
            return None


def _changed(item: Item, change: Change) -> Item:
    trade_id, _, text = item
    try:
        payload = value_of(text)
    except ValueError:
        return item
    if not isinstance(payload, dict):
        return item
    changed = change(payload)
    return trade_id, changed.get("event"), text_of(changed)


def _retyped(value: Any) -> Any:
    """Return the value as another JSON type."""
    match value:
        case bool():
            return "Y" if value else "N"
        case int() | Decimal():
            return format(value, "f") if isinstance(value, Decimal) else str(value)
        case str():
            return {"value": value}
        case _:
            return str(value)
