"""The keys of the settings file: their types, ranges and defaults; reasons stand in config/stp-etl.toml."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr

from etl.config.alerts import AlertSettings
from etl.config.values import (
    Assumptions,
    Currency,
    DigitsPerCurrency,
    FilePath,
    OptionalPath,
    OptionalSecret,
    OptionalTimeOfDay,
    Section,
    Text,
    Texts,
    TimeOfDay,
    Tolerances,
    database_url,
    listen_address,
    nothing_if_empty,
    sound_base_url,
    sound_proxy,
    time_zone,
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
    quiet_poll_interval_s: float = Field(default=0, ge=0, le=3_600)
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
    settled_at_execution: Texts = ()
    broker_balances: bool = False
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
    own_process: bool = True


class Zoned(Section):
    """A table with times of day, all meant in one time zone."""

    timezone: Annotated[str, AfterValidator(time_zone)] = "America/New_York"

    @property
    def zone(self) -> ZoneInfo:
        """Return the time zone in which every time of day of this section is meant."""
        return ZoneInfo(self.timezone)


class ReconciliationSettings(Zoned):
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
    call_spacing_s: float = Field(default=0.05, ge=0, le=60)
    daily: Literal["on", "off"] = "on"
    daily_at: TimeOfDay = time(17, 10)
    sweep: Literal["daily", "off"] = "daily"
    sweep_at: TimeOfDay = time(17, 30)
    suspect_after_sweeps: int = Field(default=2, ge=1, le=7)
    quiet_from: TimeOfDay = time(18)
    quiet_until: TimeOfDay = time(23)
    business_day_ends: TimeOfDay = time(17)
    reporting_currency: Currency = "USD"
    minor_unit_digits: DigitsPerCurrency = Field(default_factory=dict)
    tolerance_units: Tolerances = Field(default_factory=dict)
    rate_stale_s: float = Field(default=3_600, ge=1, le=31_536_000)
    severity_low_below: int = Field(default=10_000, ge=0, le=10**15)
    severity_high_from: int = Field(default=1_000_000, ge=1, le=10**15)


class PublishSettings(Section):
    """[publish]: another Postgres that `stp-etl publish` keeps up to date. Without `url` there is none."""

    url: Annotated[OptionalSecret, AfterValidator(database_url)] = None
    url_file: OptionalPath = None
    schema_name: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,40}$")] = "reporting"
    interval_s: float = Field(default=5, ge=0.1, le=86_400)
    batch_versions: int = Field(default=50_000, ge=1, le=1_000_000)


class TradingSettings(Zoned):
    """[trading]: when the market trades; outside polling slows down, and silence is no sign of trouble."""

    weekend: Literal["closed", "open"] = "closed"
    friday_closes: TimeOfDay = time(17)
    sunday_opens: TimeOfDay = time(17)
    quiet_from: OptionalTimeOfDay = None
    quiet_until: OptionalTimeOfDay = None


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
    trading: TradingSettings = TradingSettings()
    ops: OpsSettings = OpsSettings()
    retention: RetentionSettings = RetentionSettings()
    alerts: AlertSettings = AlertSettings()
