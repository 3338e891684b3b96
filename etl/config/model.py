"""The keys of the settings file: their types, ranges and defaults; reasons stand in config/stp-etl.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from etl.config.secret import Secret

LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}|::1")
DATABASE_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
DEFAULT_PORTS = {"http": 80, "https": 443}
ASSUMPTIONS = tuple(f"A{number}" for number in range(1, 25))  # about the vendor, as the README lists them


def nothing_if_empty(value: object) -> object:
    """Return None for an empty text, so that the environment can take back what the file says."""
    return None if value == "" else value


def secret_from(value: object) -> object:
    return Secret(value) if isinstance(value, str) and value else nothing_if_empty(value)


def sound_base_url(value: str) -> str:
    """Return the address without a trailing slash or a port that goes without saying; http only to this machine."""
    url = address(value)
    if url.scheme == "http" and not LOOPBACK.fullmatch(url.hostname or ""):
        raise ValueError("must be https: plain http is allowed to this machine only (127.0.0.1, ::1, localhost)")
    if url.query or url.fragment or "@" in url.netloc:
        raise ValueError("must be an address only: no user, password, ? or #")
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    port = "" if url.port in (None, DEFAULT_PORTS[url.scheme]) else f":{url.port}"
    return f"{url.scheme}://{host}{port}{url.path.rstrip('/')}"


def address(value: str) -> SplitResult:
    """Return the parts of a web address; raise ValueError with what is allowed."""
    try:
        url = urlsplit(value)
        sound = url.scheme in DEFAULT_PORTS and url.hostname and (url.port is None or url.port > 0)
    except ValueError:
        sound = None
    if not sound or re.search(r"[\s\x00-\x1f]", value):
        raise ValueError("must be an address such as https://host/path")
    return url


def sound_proxy(value: str) -> str:
    address(value)
    return value


def database_url(value: Secret | None) -> Secret | None:
    if value is not None:
        check_database_url(value.reveal())
    return value


def check_database_url(url: str) -> None:
    """Raise ValueError when `url` is not the address of a Postgres database."""
    if urlsplit(url).scheme not in DATABASE_SCHEMES:
        raise ValueError("must be a Postgres address such as postgresql://user:password@host:5432/database")


def listen_address(value: str) -> str:
    match = re.fullmatch(r"(?P<host>[^\s:\[\]]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})", value)
    if match is None or int(match["port"]) > 65535:
        raise ValueError("must be host:port, such as 127.0.0.1:8080 or [::1]:8080; port 0 takes a free one")
    return value


def time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("must be the name of a time zone, such as America/New_York") from error
    return value


def time_of_day(value: object) -> object:
    """Return the time of day in a text such as 17:00; TOML's own local time passes as it is."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError("must be a time of day such as 17:00")
    return time.fromisoformat(value)


def assumption(value: str) -> str:
    if value not in ASSUMPTIONS:
        raise ValueError(f"must be {ASSUMPTIONS[0]} to {ASSUMPTIONS[-1]}, as the README numbers the assumptions")
    return value


def upper_case_keys(value: object) -> object:
    return {str(key).upper(): item for key, item in value.items()} if isinstance(value, dict) else value


Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Texts = Annotated[tuple[Text, ...], Field(strict=False)]
Assumptions = Annotated[tuple[Annotated[str, AfterValidator(assumption)], ...], Field(strict=False)]
FilePath = Annotated[Path, Field(strict=False)]
OptionalPath = Annotated[FilePath | None, BeforeValidator(nothing_if_empty)]
OptionalSecret = Annotated[Secret | None, BeforeValidator(secret_from)]
TimeOfDay = Annotated[time, BeforeValidator(time_of_day)]
Currency = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,12}$")]
PerCurrency = Annotated[Mapping[Currency, Annotated[int, Field(ge=0, le=1_000_000)]], BeforeValidator(upper_case_keys)]
DigitsPerCurrency = Annotated[Mapping[Currency, Annotated[int, Field(ge=0, le=18)]], BeforeValidator(upper_case_keys)]


class Section(BaseModel):
    """One table of the settings file; a key that it does not know is a fault."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,  # a traceback must not show secrets either
    )


class DatabaseSettings(Section):
    """[database]: where the book is kept. Without `url` an embedded Postgres under `data_dir` is used."""

    url: Annotated[OptionalSecret, AfterValidator(database_url)] = None
    url_file: OptionalPath = None
    data_dir: FilePath = Path("var/postgres")
    connect_timeout_s: float = Field(default=5, ge=0.1, le=300)
    statement_timeout_s: float = Field(default=60, ge=1, le=86_400)
    pool_size: int = Field(default=10, ge=2, le=1_000)


class FeedSettings(Section):
    """[feeds.NAME]: one STP download user at one base URL."""

    base_url: Annotated[Text, AfterValidator(sound_base_url)] = Field(
        description="the vendor's REST address, without /v2"
    )
    org: Text = Field(description="the organisation that the download user logs in to")
    user: Text = Field(description="the STP download user, used by nothing else")
    auth: Literal["token", "hmac"] = "token"
    password: OptionalSecret = None
    password_file: OptionalPath = None
    secret: OptionalSecret = None
    secret_file: OptionalPath = None
    renew_path: Annotated[str, Field(pattern=r"^/[^\s?#]*$")] = "/v2/sso/token/renew"
    proxy: Annotated[Annotated[Text, AfterValidator(sound_proxy)] | None, BeforeValidator(nothing_if_empty)] = None
    ca_file: OptionalPath = None
    client_cert_file: OptionalPath = None
    client_key_file: OptionalPath = None
    poll_interval_s: float = Field(default=5, ge=0.1, le=3_600)
    page_size: int = Field(default=50, ge=1, le=1_000)
    max_answer_mib: int = Field(default=64, ge=1, le=128)
    connect_timeout_s: float = Field(default=5, ge=0.1, le=300)
    read_timeout_s: float = Field(default=30, ge=0.1, le=600)
    error_pause_min_s: float = Field(default=1, ge=0.1, le=3_600)
    error_pause_max_s: float = Field(default=300, ge=0.1, le=3_600)
    ghost_s: float = Field(default=120, ge=0, le=86_400)
    eligible_after_s: float = Field(default=10, ge=0, le=3_600)
    history_days: int = Field(default=31, ge=1, le=366)
    resend_days_at_once: int = Field(default=1, ge=1, le=31)
    resend_days_unasked: int = Field(default=7, ge=1, le=366)
    resend_budget_per_day: int = Field(default=300, ge=1, le=100_000)
    conflicts_before_hold: int = Field(default=20, ge=1, le=100_000)
    own_orgs: Texts = ()
    non_deliverable_assets: Texts = ()
    balance_assets: Texts = ()
    ignored_in_comparison: Texts = ()
    confirmed_assumptions: Assumptions = ()
    field_aliases: Mapping[str, Texts] = Field(default_factory=dict)
    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """Return NAME of [feeds.NAME]."""
        return self._name

    @property
    def identity(self) -> tuple[str, str, str]:
        """Return what makes this feed itself and no other: base URL, organisation, user (design.md, section 5)."""
        return self.base_url, self.org, self.user


class BookingSettings(Section):
    """[booking]: how landed answers become trades."""

    batch_kib: int = Field(default=1_000, ge=1, le=100_000)
    book_every_s: float = Field(default=1, ge=0.1, le=3_600)


class ReconciliationSettings(Section):
    """[reconciliation]: how our book is compared with what the vendor says. A period of 0 s means never by itself."""

    positions_every_s: float = Field(default=900, ge=0, le=86_400)
    fills_every_s: float = Field(default=900, ge=0, le=86_400)
    balances_every_s: float = Field(default=3_600, ge=0, le=86_400)
    level: Literal["ORG", "LE", "USER"] = "ORG"
    compare_term: Literal["off", "flows", "average"] = "off"
    confirm_after_s: float = Field(default=10, ge=0, le=600)
    adopt_status: bool = True
    fills_history_days: int = Field(default=2, ge=1, le=31)
    calls_per_run: int = Field(default=200, ge=1, le=100_000)
    sweep: Literal["daily", "off"] = "daily"
    sweep_at: TimeOfDay = time(17, 30)
    suspect_after_sweeps: int = Field(default=2, ge=1, le=7)
    quiet_from: TimeOfDay = time(18)
    quiet_until: TimeOfDay = time(23)
    business_day_ends: TimeOfDay = time(17)
    timezone: Annotated[str, AfterValidator(time_zone)] = "America/New_York"
    reporting_currency: Currency = "USD"
    minor_unit_digits: DigitsPerCurrency = Field(default_factory=dict)
    tolerance_units: PerCurrency = Field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        """Return the time zone in which every time of day of this section is meant."""
        return ZoneInfo(self.timezone)


class PublishSettings(Section):
    """[publish]: another Postgres that `stp-etl publish` keeps up to date. Without `url` there is none."""

    url: Annotated[OptionalSecret, AfterValidator(database_url)] = None
    url_file: OptionalPath = None
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,40}$")] = "reporting"
    interval_s: float = Field(default=5, ge=0.1, le=86_400)
    batch_versions: int = Field(default=50_000, ge=1, le=1_000_000)


class OpsSettings(Section):
    """[ops]: pages for monitoring, log lines, orderly stop."""

    listen: Annotated[str, AfterValidator(listen_address)] = "127.0.0.1:8080"
    stale_after_s: float = Field(default=300, ge=1, le=86_400)
    shutdown_grace_s: float = Field(default=25, ge=0, le=600)
    job_deadline_s: float = Field(default=900, ge=1, le=86_400)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"

    @property
    def listen_host(self) -> str:
        """Return the host of `listen`, without the brackets of an IPv6 address."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def listen_port(self) -> int:
        """Return the port of `listen`; 0 takes a free one."""
        return int(self.listen.rpartition(":")[2])


class RetentionSettings(Section):
    """[retention]: how long things are kept, in whole months; 0 for ever. Acted on by `stp-etl db retain` only."""

    answers_months: int = Field(default=0, ge=0, le=1_200)
    polls_months: int = Field(default=0, ge=0, le=1_200)
    audit_months: int = Field(default=0, ge=0, le=1_200)
    detached_days: int = Field(default=30, ge=0, le=3_660)


class Tables(Section):
    """The settings file as a whole."""

    database: DatabaseSettings = DatabaseSettings()
    feeds: Mapping[str, FeedSettings] = Field(default_factory=dict)
    booking: BookingSettings = BookingSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    publish: PublishSettings = PublishSettings()
    ops: OpsSettings = OpsSettings()
    retention: RetentionSettings = RetentionSettings()
