"""Every exception we raise, grouped by what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta


class EtlError(Exception):
    """The root of all our exceptions; its text is a sentence for the operator."""


class TransientError(EtlError):
    """Try again on the next run; nobody needs to be woken."""


class OperatorError(EtlError):
    """No retry will help; a person has to act, and the text says how."""


class ConfigError(EtlError):
    """The program must not start: settings are missing, wrong or unreadable."""

    def __init__(self, faults: Sequence[str], file: str | None = None) -> None:
        super().__init__("\n".join(faults))
        self.faults = tuple(faults)
        self.file = file  # the settings file in which they are, where one was read


class OutputLostError(OSError):
    """What a command shows could not be written whole: the disk is full, the device took no more."""


class DatabaseAwayError(TransientError):
    """The database does not answer, or refuses to take writes for now."""


class DatabaseRefusedError(OperatorError):
    """The database answered and said no: password, rights, version, missing schema."""


class CommitUnknownError(TransientError):
    """The connection was lost during COMMIT: the transaction may or may not have been kept."""


class SchemaError(OperatorError):
    """The database schema is older or newer than this program can use."""


class ContentRefusedError(EtlError):
    """The database refused the content of a batch; the batch is halved until the culprit stands alone."""


class FenceLostError(TransientError):
    """Another instance leads this feed now; only landing is still allowed."""


class TicketExpiredError(TransientError):
    """A poll's ticket is older than it may be when the request is about to leave."""


class OtherDatabaseError(OperatorError):
    """This is not the database that the feed was last pulled into: restored or cloned, a person must say."""


class NotBookedError(TransientError):
    """The process that books a backlog cannot book this batch; it is booked by whoever asked."""


class BookingHeldError(OperatorError):
    """Booking of a feed stands still until a person has looked."""


class VendorAwayError(TransientError):
    """The vendor cannot be reached, or did not answer in time."""


class VendorUnreachableError(VendorAwayError):
    """Nothing, or no whole answer, came from the vendor: its address, a proxy or the network is in question."""


class VendorFailedError(VendorAwayError):
    """The vendor answered 500; its support wants the full request and response, kept in `exchange` without secrets."""

    def __init__(self, text: str, exchange: str) -> None:
        super().__init__(text)
        self.exchange = exchange


class VendorRefusedError(OperatorError):
    """The vendor answered and said no: credentials, rights, a wrong address."""


class VendorThrottledError(TransientError):
    """The vendor asked us to slow down."""

    def __init__(self, retry_after: timedelta) -> None:
        super().__init__(f"the vendor asks us to wait {retry_after.total_seconds():.0f} s")
        self.retry_after = retry_after
