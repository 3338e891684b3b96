"""Read, overlay, check and freeze the settings, once."""

from etl.alert_kinds import AlertKind
from etl.config.alerts import AlertSettings
from etl.config.model import (
    BookingSettings,
    DatabaseSettings,
    FeedSettings,
    OpsSettings,
    ReconciliationSettings,
    TradingSettings,
)
from etl.config.secret import KNOWN_SECRETS, MASK, Secret
from etl.config.settings import Settings, ShownKey, Source, load

__all__ = [
    "KNOWN_SECRETS",
    "MASK",
    "AlertKind",
    "AlertSettings",
    "BookingSettings",
    "DatabaseSettings",
    "FeedSettings",
    "OpsSettings",
    "ReconciliationSettings",
    "Secret",
    "Settings",
    "ShownKey",
    "Source",
    "TradingSettings",
    "load",
]
