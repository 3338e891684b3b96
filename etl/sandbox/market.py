"""What is traded in the sandbox: pairs with their rates, decimals and settlement, and who trades."""

from dataclasses import dataclass
from decimal import Context, Decimal

WIDE = Context(prec=60)
"""Arithmetic of the sandbox: wide enough that no sum or product of amounts is ever rounded."""

MINOR_UNITS = {"JPY": 0, "KRW": 0, "KWD": 3, "XAU": 3, "XAG": 2, "BTC": 8, "ETH": 8, "USDT": 6, "WTI": 0}


def minor_units(asset: str) -> int:
    """Return the decimals of an asset's amounts."""
    return MINOR_UNITS.get(asset, 2)


def rounded(amount: Decimal, asset: str) -> Decimal:
    """Round an amount half up to the minor unit of its asset; no zeros are left at its end."""
    return amount.quantize(Decimal(1).scaleb(-minor_units(asset)), "ROUND_HALF_UP", WIDE).normalize(WIDE)


@dataclass(frozen=True, slots=True)
class Pair:
    """A symbol, with units of term per unit of base, the decimals of its rate, and days to spot."""

    symbol: str
    mid: Decimal
    places: int
    kind: str = "fx"
    spot_days: int = 2

    @property
    def base(self) -> str:
        return self.symbol.partition("/")[0]

    @property
    def term(self) -> str:
        return self.symbol.partition("/")[2]


def _pair(symbol: str, mid: str, places: int, kind: str = "fx", spot_days: int = 2) -> Pair:
    return Pair(symbol, Decimal(mid), places, kind, spot_days)


DELIVERABLE = (
    _pair("EUR/USD", "1.08425", 5), _pair("EUR/USD", "1.08425", 5), _pair("GBP/USD", "1.26310", 5),
    _pair("USD/JPY", "151.324", 3), _pair("USD/CHF", "0.88415", 5), _pair("AUD/USD", "0.65740", 5),
    _pair("USD/CAD", "1.35870", 5, spot_days=1), _pair("EUR/GBP", "0.85840", 5), _pair("EUR/JPY", "164.075", 3),
    _pair("USD/KWD", "0.307850", 6), _pair("XAU/USD", "2034.15", 2, "metal"), _pair("XAG/USD", "22.874", 3, "metal"),
)  # fmt: skip
CRYPTO = (
    _pair("BTC/USD", "43125.50", 2, "crypto", 0),
    _pair("ETH/USD", "2281.35", 2, "crypto", 0),
    _pair("USDT/USD", "1.0002", 4, "crypto", 0),
)
NON_DELIVERABLE = (
    _pair("USD/INR", "83.1250", 4, "ndf"),
    _pair("USD/BRL", "4.9675", 4, "ndf"),
    _pair("USD/KRW", "1331.20", 2, "ndf"),
)
ENERGY = (_pair("WTI/USD", "72.480", 3, "energy"),)
PAIRS = {pair.symbol: pair for pair in (*DELIVERABLE, *CRYPTO, *NON_DELIVERABLE, *ENERGY)}
ASSETS = tuple(sorted({asset for pair in PAIRS.values() for asset in (pair.base, pair.term)}))

TENORS = {"1W": 7, "2W": 14, "1M": 30, "2M": 61, "3M": 91, "6M": 182, "1Y": 365}
"""Calendar days after spot; month ends are not played."""


@dataclass(frozen=True, slots=True)
class Counterparty:
    """The other side of a trade; its account is one of its legal entities."""

    name: str
    long_name: str
    accounts: tuple[str, ...]


COUNTERPARTIES = (
    Counterparty("BrokerOrg1", "The Broker Org", ("BrokerOrg1LE1", "BrokerOrg1LE5")),
    Counterparty("BankOrgA", "Bank A, N.A.", ("BankOrgALE1", "BankOrgALDN", "BankOrgANY")),
    Counterparty("NordBank", "Nordbank Zürich AG", ("NordBankZH",)),
    Counterparty("HedgeOrg7", 'Hedge & Sons "Seven" Ltd', ("HedgeOrg7LE", "HedgeOrg7LE2")),
    Counterparty("PrimeOrg", "Prime Brokerage Org", ("PrimeOrgLE1", "PrimeOrgLE2")),
)
