"""Why a request has no whole answer: foreign exceptions in our words."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import requests
from urllib3 import exceptions as urllib3_errors

from etl.errors import TicketExpiredError
from etl.vendor.feed import Cause


class Failure(NamedTuple):
    """One word for tables and metrics, one sentence for the operator."""

    cause: Cause
    detail: str


def failure_before_sending(error: Exception) -> Failure:
    """Return why nothing of the request has left this machine."""
    found = list(_unfolded(error))
    for each in found:
        match each:
            case TicketExpiredError():
                return Failure(Cause.TICKET_EXPIRED, str(each))
            case urllib3_errors.ProxyError():
                return Failure(Cause.PROXY, f"the proxy did not connect us: {_reason(found)}")
            case ssl.SSLCertVerificationError():
                return Failure(
                    Cause.TLS,
                    f"the certificate of the vendor's server was not accepted: {each.verify_message}; "
                    "if a private authority signed it, name its file as ca_file",
                )
            case ssl.SSLError():
                return Failure(Cause.TLS, f"no encrypted connection could be agreed: {each.reason or 'TLS failure'}")
            case urllib3_errors.NameResolutionError() | socket.gaierror():
                return Failure(Cause.DNS, "the vendor's host name could not be resolved")
            case _:
                pass
    if any(isinstance(each, ConnectionRefusedError) for each in found):
        return Failure(Cause.CONNECT_REFUSED, "the vendor's server refused the connection")
    if any(isinstance(each, TimeoutError | urllib3_errors.ReadTimeoutError) for each in found):
        return Failure(Cause.CONNECT_TIMEOUT, "the vendor's server did not accept a connection in time")
    return Failure(Cause.CONNECT_FAILED, f"no connection to the vendor's server: {_reason(found)}")


def failure_after_sending(error: Exception) -> Failure:
    """Return why the answer did not arrive, or not whole, once bytes may have left."""
    found = list(_unfolded(error))
    for each in found:
        match each:
            case TimeoutError() | urllib3_errors.TimeoutError():
                return Failure(Cause.TIMEOUT, "no whole answer arrived in time")
            case urllib3_errors.IncompleteRead() | http.client.IncompleteRead():
                return Failure(Cause.CUT, "the answer ended before it was whole")
            case ConnectionError() | ssl.SSLError():
                return Failure(Cause.RESET, f"the connection was lost before the answer was whole: {_reason(found)}")
            case _:
                pass
    if any(isinstance(each, OSError) for each in found):
        return Failure(Cause.RESET, f"the connection was lost before the answer was whole: {_reason(found)}")
    return Failure(Cause.NOT_HTTP, f"what arrived is not an HTTP answer: {_kind(found)}")


def _unfolded(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and all that it wraps: requests wraps those of urllib3, which wrap those of the system."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop(0)
        if id(each) not in seen:
            seen.add(id(each))
            if not isinstance(each, requests.RequestException):  # these are all OSErrors, and say nothing more
                yield each
            inner = [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
            waiting += [one for one in inner if isinstance(one, BaseException)]


def _reason(found: list[BaseException]) -> str:
    """Return the system's own words; those of the libraries would show addresses and memory."""
    for each in found:
        if isinstance(each, http.client.RemoteDisconnected):
            return "closed by the other side without an answer"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
        if type(each) is OSError and each.args and isinstance(each.args[0], str):
            return each.args[0]  # "Tunnel connection failed: 407 …" has no number
    return _kind(found)


def _kind(found: list[BaseException]) -> str:
    return type(found[-1]).__name__ if found else "unknown"
