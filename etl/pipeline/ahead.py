"""Reads the next batch while the one before is being written: the one needs the processor, the other waits."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from etl.domain.fields import Reading
from etl.pipeline.reading import ReadMessage, messages_in
from etl.store.repositories.answers import Waiting
from etl.store.unit_of_work import OpenWork, UnitOfWork


class ReadAhead:
    """Reads answers of one feed, those asked for or, beforehand, those that will be asked for next.

    Landed answers never change, so what was read beforehand is right; whether they still wait is decided by the
    booker, under its lock.
    """

    def __init__(self, feed_id: int, reading: Reading, open_work: OpenWork, *, batch_bytes: int) -> None:
        self._feed_id, self._reading, self._open_work, self._size = feed_id, reading, open_work, batch_bytes
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._next: Future[tuple[list[Waiting], list[ReadMessage]]] | None = None

    def take(self, reading: Reading, *, batch_bytes: int) -> None:
        """Read in this way from now on."""
        self._reading, self._size = reading, batch_bytes

    def messages(self, work: UnitOfWork, waiting: Sequence[Waiting]) -> list[ReadMessage]:
        """Return the messages of these answers, and begin to read those behind them."""
        ahead, self._next = self._next, None
        known, messages = ahead.result() if ahead is not None else ([], [])
        if known != waiting[: len(known)]:
            known, messages = [], []
        self._next = self._thread.submit(self._read_after, waiting[-1].poll_id)
        return messages + self._read(work, waiting[len(known) :])  # more may have landed since

    def forget(self) -> None:
        """Drop what was read beforehand."""
        ahead, self._next = self._next, None
        if ahead is not None and not ahead.cancel():
            ahead.exception()

    def _read_after(self, last: int) -> tuple[list[Waiting], list[ReadMessage]]:
        with self._open_work() as work:
            waiting = work.answers.oldest_waiting(self._feed_id, self._size, after=last)
            return waiting, self._read(work, waiting)

    def _read(self, work: UnitOfWork, waiting: Sequence[Waiting]) -> list[ReadMessage]:
        answers = work.answers.landed(self._feed_id, waiting) if waiting else []
        return [message for answer in answers for message in messages_in(answer, self._reading)]
