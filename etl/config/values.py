"""The types of the values in the settings file, and what makes each sound."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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


def origin_of(url: str) -> str:
    """Return scheme, host and port of a web address: what follows, or stands before the host, may be a secret."""
    parts = address(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or DEFAULT_PORTS[parts.scheme]}"


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
OptionalTimeOfDay = Annotated[time | None, BeforeValidator(time_of_day), BeforeValidator(nothing_if_empty)]
Currency = Annotated[str, Field(pattern=r"^[A-Z0-9]{2,12}$")]
Named = Annotated[str, Field(pattern=r"^([A-Z_]+:)?[A-Z0-9_]{2,16}(/[A-Z0-9]{2,12})?$")]
Tolerances = Annotated[Mapping[Named, Annotated[int, Field(ge=0, le=1_000_000)]], BeforeValidator(upper_case_keys)]
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
