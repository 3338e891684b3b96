"""JSON whose numbers are decimals: written digit for digit, and read back without a binary float."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, TypeAlias

Json: TypeAlias = "None | bool | int | Decimal | str | Sequence[Json] | Mapping[str, Json]"


class Verbatim(str):
    """JSON text that is put into a document as it stands, for number styles no encoder would choose."""

    __slots__ = ()


def text_of(value: Json) -> str:
    """Return compact JSON; a Decimal keeps all its digits and never gets an exponent."""
    match value:
        case Verbatim():
            return str(value)
        case str():
            return encode_basestring(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case Mapping():
            return "{" + ",".join(f"{encode_basestring(key)}:{text_of(item)}" for key, item in value.items()) + "}"
        case _:
            return "[" + ",".join(map(text_of, value)) + "]"


def bytes_of(value: Json) -> bytes:
    """Return compact JSON in UTF-8."""
    return text_of(value).encode()


def value_of(text: str | bytes) -> Any:
    """Read JSON; raises ValueError where the text is none."""
    return json.loads(text, parse_float=Decimal)
