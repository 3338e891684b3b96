"""Exact amounts of money, and the smallest unit of a currency."""

from __future__ import annotations

import decimal
from decimal import Decimal
from types import MappingProxyType

import msgspec

EXACT = decimal.Context(prec=200, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow])
"""Arithmetic that raises rather than rounds (law 8)."""

_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
        "CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD "
        "HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU "
        "MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG "
        "SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST "
        "XCD XCG YER ZAR ZMW ZWG "
        "CNH"  # the offshore yuan: no code of ISO 4217, dealt in the yuan's unit
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS = MappingProxyType({code: digits for digits, codes in _BY_DIGITS.items() for code in codes.split()})


def minor_unit(currency: str) -> int | None:
    """Return the digits behind the point of the currency's smallest unit: 2 for EUR, 0 for JPY (source: ISO 4217).

    None for what has no such unit there: metals, energy, indices, crypto.
    """
    return _DIGITS.get(currency)


class Amount(msgspec.Struct, frozen=True, gc=False):
    """A sum of one currency: major units; positive is received by our side, negative is paid."""

    value: Decimal
    currency: str

    def reversed(self) -> Amount:
        """Return the same sum seen from the other party, digit for digit (`-x` would round to the context)."""
        return Amount(self.value.copy_negate(), self.currency)
