"""One transaction and its repositories."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property

from sqlalchemy import Connection

from etl.store.database import Database, commit, translating
from etl.store.repositories.alerts import AlertRepository
from etl.store.repositories.answers import AnswerRepository
from etl.store.repositories.attention import AttentionRepository
from etl.store.repositories.balances import BalanceRepository
from etl.store.repositories.book import BookRepository
from etl.store.repositories.breaks import BreakRepository
from etl.store.repositories.certificates import CertificateRepository
from etl.store.repositories.checkup import CheckupRepository
from etl.store.repositories.contract import ContractRepository
from etl.store.repositories.day import DayRepository
from etl.store.repositories.exports import ExportRepository
from etl.store.repositories.feeds import FeedRepository
from etl.store.repositories.figures import FigureRepository
from etl.store.repositories.fills import FillsRepository
from etl.store.repositories.gap_measures import GapMeasures
from etl.store.repositories.gaps import GapRepository
from etl.store.repositories.incarnations import IncarnationRepository
from etl.store.repositories.investigating import InvestigationRepository
from etl.store.repositories.lists import ListRepository
from etl.store.repositories.originals import OriginalRepository
from etl.store.repositories.polls import PollRepository
from etl.store.repositories.rebooking import RebookRepository
from etl.store.repositories.reconciling import ReconciliationRepository
from etl.store.repositories.requests import RequestRepository
from etl.store.repositories.retention import RetentionRepository
from etl.store.repositories.sweeps import SweepRepository
from etl.store.repositories.transfers import TransferRepository


class UnitOfWork:
    """One transaction. Leaving it without `commit()` undoes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def feeds(self) -> FeedRepository:
        """Feeds, their leases and how their booking stands."""
        return FeedRepository(self._connection)

    @cached_property
    def polls(self) -> PollRepository:
        """Polls: intent, landing, outcome."""
        return PollRepository(self._connection)

    @cached_property
    def answers(self) -> AnswerRepository:
        """Landed answers and the messages in them."""
        return AnswerRepository(self._connection)

    @cached_property
    def book(self) -> BookRepository:
        """Trades, versions, legs, positions."""
        return BookRepository(self._connection)

    @cached_property
    def gaps(self) -> GapRepository:
        """Gaps and resends."""
        return GapRepository(self._connection)

    @cached_property
    def measures(self) -> GapMeasures:
        """What healing counts."""
        return GapMeasures(self._connection)

    @cached_property
    def sweeps(self) -> SweepRepository:
        """Sweeps of closed trade dates."""
        return SweepRepository(self._connection)

    @cached_property
    def incarnations(self) -> IncarnationRepository:
        """Which database this is, and which one each feed knows."""
        return IncarnationRepository(self._connection)

    @cached_property
    def attention(self) -> AttentionRepository:
        """Exception items, breaks, incidents, the audit log."""
        return AttentionRepository(self._connection)

    @cached_property
    def alerts(self) -> AlertRepository:
        """What people are to be told."""
        return AlertRepository(self._connection)

    @cached_property
    def figures(self) -> FigureRepository:
        """Figures for monitoring."""
        return FigureRepository(self._connection)

    @cached_property
    def investigating(self) -> InvestigationRepository:
        """What the investigation of breaks reads of the book."""
        return InvestigationRepository(self._connection)

    @cached_property
    def lists(self) -> ListRepository:
        """Rows of the reporting views, for people."""
        return ListRepository(self._connection)

    @cached_property
    def certificates(self) -> CertificateRepository:
        """What can be proven about trade days."""
        return CertificateRepository(self._connection)

    @cached_property
    def day(self) -> DayRepository:
        """The operator's sheet of a trade day."""
        return DayRepository(self._connection)

    @cached_property
    def retention(self) -> RetentionRepository:
        """Months and rows that may go."""
        return RetentionRepository(self._connection)

    @cached_property
    def contract(self) -> ContractRepository:
        """What the reporting views mean."""
        return ContractRepository(self._connection)

    @cached_property
    def exports(self) -> ExportRepository:
        """What files of a trade date hold."""
        return ExportRepository(self._connection)

    @cached_property
    def originals(self) -> OriginalRepository:
        """The vendor's own words about one message."""
        return OriginalRepository(self._connection)

    @cached_property
    def rebooking(self) -> RebookRepository:
        """Which booked messages are to be read again."""
        return RebookRepository(self._connection)

    @cached_property
    def requests(self) -> RequestRepository:
        """What commands want of the leader."""
        return RequestRepository(self._connection)

    @cached_property
    def checkup(self) -> CheckupRepository:
        """What can be learnt of the server without changing anything."""
        return CheckupRepository(self._connection)

    @cached_property
    def breaks(self) -> BreakRepository:
        """Breaks, their observations and events."""
        return BreakRepository(self._connection)

    @cached_property
    def balances(self) -> BalanceRepository:
        """Balances of accounts and what moves them."""
        return BalanceRepository(self._connection)

    @cached_property
    def transfers(self) -> TransferRepository:
        """Deposits and withdrawals."""
        return TransferRepository(self._connection)

    @cached_property
    def fills(self) -> FillsRepository:
        """Orders and trades as the fills control needs them."""
        return FillsRepository(self._connection)

    @cached_property
    def reconciling(self) -> ReconciliationRepository:
        """Runs of reconciliation, the vendor's stored answers, openings."""
        return ReconciliationRepository(self._connection)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside when it raises, and only that."""
        with translating(), self._connection.begin_nested():
            yield

    def commit(self) -> None:
        """Keep the work; raise CommitUnknownError where nobody can know whether it was kept."""
        commit(self._connection)


OpenWork = Callable[[], AbstractContextManager[UnitOfWork]]


def work_on(database: Database) -> OpenWork:
    """Return the function that opens a unit of work on `database`."""

    @contextmanager
    def open_work() -> Iterator[UnitOfWork]:
        with database.connect() as connection:
            yield UnitOfWork(connection)

    return open_work
