"""The vendor's own words about a message, checked against their hashes."""

from __future__ import annotations

import hashlib

import msgspec

from etl.cli.output import remark
from etl.domain.answer import Page, content_of
from etl.domain.words import counted
from etl.errors import EtlError
from etl.store.repositories.answers import poll_of
from etl.store.repositories.originals import KeptAnswer, KeptMessage
from etl.store.rows.poll import MESSAGES_A_POLL
from etl.store.unit_of_work import UnitOfWork


class Original(msgspec.Struct, frozen=True):
    """One message as it came: its bytes, the answer around it, what became of it (None: not booked yet).

    `faults`: where bytes and hashes disagree; each is a sentence, none means that they are what was landed.
    """

    message_id: int
    raw: bytes
    answer: KeptAnswer
    message: KeptMessage | None
    faults: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The hash of the message's bytes as they are now, in hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()


def original_of(work: UnitOfWork, message_id: int) -> Original:
    """Return the message of this number as it came; raise EtlError where no such message was landed."""
    poll_id, place = poll_of(message_id), message_id % MESSAGES_A_POLL
    answer = work.originals.answer_of(message_id)
    if answer is None:
        raise EtlError(
            f"message {message_id} is not known: poll {poll_id} landed no answer, or it was retired; see: "
            "stp-etl messages list, and for what was retired: stp-etl audit list"
        )
    message = work.originals.message_in(answer, message_id)
    content = content_of(answer.status, answer.body, answer.content_encoding)
    pieces = content.pieces if isinstance(content, Page) else ()
    if place >= len(pieces):
        raise EtlError(
            f"message {message_id} is not known: the answer of poll {poll_id} has {counted(len(pieces), 'message')}, "
            f"from number {poll_id * MESSAGES_A_POLL} on"
        )
    raw = pieces[place].raw
    return Original(message_id, raw, answer, message, tuple(faults_in(raw, pieces[place].offset, answer, message)))


def faults_in(raw: bytes, start: int, answer: KeptAnswer, message: KeptMessage | None) -> list[str]:
    """Return a sentence for every hash or place that does not fit the bytes."""
    found = []
    if hashlib.sha256(answer.body).digest() != answer.sha256:
        found.append(f"the answer of poll {answer.poll_id} does not have the sha256 that it was landed with")
    if message is not None and (message.start, message.length) != (start, len(raw)):
        found.append("the message does not lie where it lay when it was booked")
    if message is not None and hashlib.sha256(raw).digest() != message.sha256:
        found.append("the message does not have the sha256 that it was booked with")
    return found


def visible(raw: bytes) -> str:
    """Return the bytes as text with every line as it is and every other control character as an escape."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() or each == "\n" else f"\\u{ord(each):04x}" for each in text)


def say_faults(original: Original) -> None:
    """Say on stderr that the bytes are not those that were landed."""
    for fault in original.faults:
        remark(f"message {original.message_id}: {fault}; keep the database as it is and look for who changed it")
