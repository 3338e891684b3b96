"""Where the vendor is, and who asks."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from etl.errors import ConfigError

QUEUE_PATH = "/v2/trades/stp/messages"
MIB = 1024 * 1024
_PLAIN_STRING = re.compile(r"[ !#-\[\]-~]+")  # the vendor's grammar of HMAC parameters: no quote, no backslash


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The vendor's address, one download user of it, and how patient we are.

    `password` and `secret` are asked again at each login (a rotated file is picked up) and never shown. With
    `auth="hmac"` the user is the credential's id. Raises ConfigError, with every fault, for what must not be used.
    """

    base_url: str
    org: str
    user: str
    auth: Literal["token", "hmac"] = "token"
    password: Callable[[], str] = field(default=lambda: "", repr=False)
    secret: Callable[[], str] = field(default=lambda: "", repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    """For the whole answer, from the first byte sent to the last byte received."""
    pause_min_s: float = 1.0
    pause_max_s: float = 300.0
    """Between two logins with a password that was refused; doubled each time. Another password is tried at once."""
    renew_path: str = "/v2/sso/token/renew"
    ca_file: str | None = None
    client_cert: tuple[str, str] | None = None
    """Files of the certificate and its key, where the vendor asks for one."""
    proxy: str | None = field(default=None, repr=False)
    """`http://user:password@host:port` of a proxy that tunnels; the environment's is never used."""
    max_answer_bytes: int = 64 * MIB
    user_agent: str = "stp-etl"

    def __post_init__(self) -> None:
        """Raise ConfigError for an address that would show the credentials, and for what cannot work."""
        if faults := [*self._address_faults(), *self._other_faults()]:
            raise ConfigError(faults)

    @property
    def address(self) -> SplitResult:
        """Return the parts of the base URL."""
        return urlsplit(self.base_url)

    @property
    def path_prefix(self) -> str:
        """Return the part of the base URL's path that every path begins with; mostly empty."""
        return self.address.path.rstrip("/")

    def _address_faults(self) -> list[str]:
        try:
            parts = urlsplit(self.base_url)
            port_is_sound = parts.port is None or parts.port > 0
        except ValueError:
            return ["base_url: cannot be read as an address"]
        host = parts.hostname or ""
        faults = []
        if parts.scheme not in ("http", "https") or not host or not port_is_sound:
            faults.append("base_url: has to look like https://host or https://host:port")
        if parts.scheme == "http" and not is_loopback(host):
            faults.append(f"base_url: plain http is allowed to this machine only, use https for {host}")
        if parts.username or parts.password or parts.query or parts.fragment:
            faults.append("base_url: must not hold credentials, a query or a fragment")
        if self.proxy and parts.scheme == "http":
            faults.append("proxy: makes no sense with plain http, which is allowed to this machine only")
        return faults

    def _other_faults(self) -> list[str]:
        faults = []
        if self.auth not in ("token", "hmac"):
            faults.append("auth: has to be token or hmac")
        if self.auth == "hmac" and not _PLAIN_STRING.fullmatch(self.user):
            faults.append("user: with hmac it may hold printable ASCII only, without quote and backslash")
        if is_queue(self.renew_path) or not self.renew_path.startswith("/"):
            faults.append("renew_path: has to begin with / and must not be the queue, which only polls may ask")
        if self.proxy and urlsplit(self.proxy).scheme not in ("http", "https"):
            faults.append("proxy: has to look like http://host:port")
        if min(self.connect_timeout_s, self.read_timeout_s, self.max_answer_bytes) <= 0:
            faults.append("connect_timeout_s, read_timeout_s, max_answer_bytes: have to be above 0")
        return faults


def is_queue(path: str) -> bool:
    """Whether a path may reach the queue, which is asked with a ticket only (law 12)."""
    return "stp/messages" in unquote(unquote(path)).casefold().replace("//", "/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Return how certificates are verified: TLS 1.2 at least, against `ca_file` or the public authorities.

    Raises ConfigError when a file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=endpoint.ca_file or DEFAULT_CA_BUNDLE_PATH)
    except OSError as error:
        raise ConfigError([f"ca_file: {endpoint.ca_file} cannot be used: {error.strerror or error}"]) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if endpoint.client_cert:
        try:
            context.load_cert_chain(*endpoint.client_cert)
        except OSError as error:
            files = " and ".join(endpoint.client_cert)
            raise ConfigError([f"client_cert: {files} cannot be used: {error.strerror or error}"]) from error
    return context
