"""What a sandbox is started with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

from etl.sandbox.days import Clock
from etl.sandbox.faults import fault_of
from etl.sandbox.variants import Variants

USERS_VARIABLE = "STP_SANDBOX_USERS"
"""Of the environment: a JSON list of users, whose secrets then need not be arguments of the process."""
START_TIME = time(15, 0)
"""UTC time of day at which a sandbox with a given day begins."""


@dataclass(frozen=True)
class User:
    """One download user of the vendor; it signs in with a password, or signs each request with a secret."""

    name: str = "apiUser"
    password: str = field(default="sandbox", repr=False)
    org: str = "pfOrg"
    hmac_user: str = ""
    """The credential's id; empty: the user's name."""
    hmac_secret: str = field(default="sandbox-secret", repr=False)


@dataclass(frozen=True)
class Options:
    """The seed and the size of the world, who may ask, and what goes wrong by chance."""

    port: int = 0
    """0 takes a free one."""
    seed: int = 1
    trades: int = 2000
    """Backlog of each organisation at the start."""
    days_back: int = 5
    """Trade days over which the backlog is spread, today's included."""
    page_size_default: int = 50
    users: tuple[User, ...] = (User(),)
    rate: float = 0.0
    """Trades a second and organisation, executed while it runs."""
    today: date | None = None
    """The vendor's day at the start; None is the machine's."""
    start_time: time | datetime | None = None
    """Its time of day in UTC, or the whole instant."""
    second_consumer: float = 0.0
    """Probability that a page is preceded by one that somebody else takes."""
    token_life_s: float | None = None
    """Life of a session; None is that of the variants."""
    eligible_after_s: float | None = None
    """Time from a resend to its first trade; None is that of the variants."""
    variants: Variants = Variants()
    prerender: int = 0
    """Trades a page written beforehand; 0 writes pages when they are asked."""
    fault_rate: float = 0.0
    """Probability that a request meets a fault."""
    fault_seed: int | None = None
    """None takes the seed of the world."""
    fault_kinds: tuple[str, ...] = ()
    """Faults to draw from; none takes all that pass within a second."""
    stop_on_eof: bool = False
    """End when standard input does: a child then never outlives its parent."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Variants by name, over those of `variants`."""

    def all_variants(self) -> Variants:
        """Return the variants with the settings applied; raises ValueError for one that does not exist."""
        named = {"token_life_s": self.token_life_s, "eligible_after_s": self.eligible_after_s}
        given = {name: value for name, value in named.items() if value is not None}
        return self.variants.changed({**given, **self.settings})

    def check(self) -> None:
        """Raise ValueError where a variant or a fault does not exist, or nobody may ask."""
        self.all_variants()
        for kind in self.fault_kinds:
            fault_of({"fault": kind})
        if not self.users:
            raise ValueError("there is no user")

    def start(self) -> datetime | None:
        """Return the instant at which the vendor's clock begins, or None for the machine's."""
        if isinstance(self.start_time, datetime):
            return self.start_time.astimezone(UTC)
        if self.today is None and self.start_time is None:
            return None
        return datetime.combine(self.today or Clock.machine_now().date(), self.start_time or START_TIME, UTC)
