"""Vendor messages and trades for tests: every builder gives something sound, overrides say what matters."""

from collections.abc import Mapping
from typing import Any

import msgspec

from etl.domain.fields import Reading
from etl.domain.normalise import normalise
from etl.domain.payload import Number
from etl.domain.trade import Rejected, Trade

ABSENT = object()
"""As an override: the field is not in the message."""

_SPOT: Mapping[str, Any] = {
    "orderId": "4820276016",
    "tradeId": "FXI9369258100",
    "coId": "8932452311944",
    "event": "NEW",
    "tradeType": "Spot",
    "tradeDate": "2023-06-02",
    "valueDate": "2023-06-06",
    "maker": False,
    "side": "Buy",
    "status": "Verified",
    "symbol": "EUR/USD",
    "currency": "EUR",
    "customerAccount": "CustomerOrgle1",
    "customerOrg": "CustomerOrg",
    "user": "userName@CustomerOrg",
    "counterparty": "BrokerOrg1",
    "counterpartyLongName": "The Broker Org",
    "counterpartyAccount": "BrokerOrg1LE5",
    "channel": "API/REST/ESP",
    "executionTime": "2023-06-02 18:31:01,301 +0000",
    "dealtAmount": 1000000,
    "settledAmount": Number("1084250.00"),
    "rate": Number("1.08425"),
}
_FAR: Mapping[str, Any] = {
    "tradeType": "Swap",
    "farValueDate": "2023-07-06",
    "farDealtAmount": 1000000,
    "farSettledAmount": Number("1085900.50"),
    "farRate": Number("1.0859005"),
    "farForwardPoints": Number("0.0016505"),
}


def a_message(**overrides: Any) -> dict[str, Any]:
    """Return a spot's payload as `decode` gives it; overrides have the vendor's names, ABSENT leaves one out."""
    return {name: value for name, value in (_SPOT | overrides).items() if value is not ABSENT}


def a_swap_message(**overrides: Any) -> dict[str, Any]:
    """Return the payload of a swap with both legs."""
    return a_message(**(_FAR | overrides))


def an_ndf_message(**overrides: Any) -> dict[str, Any]:
    """Return the payload of an NDF in dollars against Korean won."""
    won = {"symbol": "USD/KRW", "currency": "USD", "settledAmount": 1302500000, "rate": Number("1302.5")}
    return a_message(**({"tradeType": "NDF", "fixingDate": "2023-06-02"} | won | overrides))


def as_bytes(payload: Any) -> bytes:
    """Return the payload as the vendor sends it, numbers digit for digit."""
    return _ENCODER.encode(payload)


def a_raw_message(**overrides: Any) -> bytes:
    """Return the bytes of `a_message`."""
    return as_bytes(a_message(**overrides))


def a_page(*messages: bytes) -> bytes:
    """Return the body of an answer with these messages."""
    return b"[" + b",".join(messages) + b"]"


def a_trade(payload: Mapping[str, Any] | None = None, *, reading: Reading | None = None, **overrides: Any) -> Trade:
    """Return the trade of a sound payload, or of `a_message` with the overrides."""
    found = normalise(a_message(**overrides) if payload is None else payload, reading or Reading())
    assert isinstance(found, Trade), found
    return found


def faults_of(payload: Mapping[str, Any], reading: Reading | None = None) -> dict[str, str]:
    """Return the rule that each faulty field of a payload breaks, by the vendor's name; empty for a trade."""
    found = normalise(payload, reading or Reading())
    return {each.field: each.rule for each in found.faults} if isinstance(found, Rejected) else {}


def _raw(value: Any) -> msgspec.Raw:
    assert isinstance(value, Number), f"{type(value).__name__} is no JSON value"
    return msgspec.Raw(str(value).encode())


_ENCODER = msgspec.json.Encoder(enc_hook=_raw)
