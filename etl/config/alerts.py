"""[alerts]: whom the program tells by itself, and what."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from etl.alert_kinds import AlertKind
from etl.config.secret import Secret
from etl.config.values import LOOPBACK, OptionalPath, OptionalSecret, Section, Texts, address


def webhook_url(value: Secret | None) -> Secret | None:
    """Return the address as it is; plain http only to this machine, because what is sent may be read on the way."""
    if value is not None:
        url = address(value.reveal())
        if url.scheme == "http" and not LOOPBACK.fullmatch(url.hostname or ""):
            raise ValueError("must be https: plain http is allowed to this machine only (127.0.0.1, ::1, localhost)")
    return value


def alert_kinds(value: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [each for each in value if each not in tuple(AlertKind)]:
        raise ValueError(f"{', '.join(unknown)} is no kind of alert; there are: {', '.join(AlertKind)}")
    return value


class AlertSettings(Section):
    """[alerts]: whom the program tells by itself, and what. Without `url` nobody is told."""

    url: Annotated[OptionalSecret, AfterValidator(webhook_url)] = None
    url_file: OptionalPath = None
    secret: OptionalSecret = None
    secret_file: OptionalPath = None
    ca_file: OptionalPath = None
    muted: Annotated[Texts, AfterValidator(alert_kinds)] = ()
    timeout_s: float = Field(default=10, ge=0.1, le=60)
    give_up_after_s: float = Field(default=86_400, ge=60, le=2_592_000)
    no_trades_after_s: float = Field(default=86_400, ge=0, le=31_536_000)
    break_age_days: int = Field(default=2, ge=1, le=365)
    retention_days: int = Field(default=90, ge=1, le=3_660)

    @property
    def wanted(self) -> tuple[AlertKind, ...]:
        """Return the kinds of alert that are sent."""
        return tuple(each for each in AlertKind if each not in self.muted) if self.url is not None else ()
