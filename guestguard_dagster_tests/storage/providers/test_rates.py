"""The shared rate limit: reserved instants, whoever reserves them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.providers.rates import RateRepo

A_SECOND = timedelta(seconds=1)
HALF_A_SECOND = timedelta(milliseconds=500)


@pytest.fixture
def rates(database: Database) -> RateRepo:
    return RateRepo(database)


def reserve(rates: RateRepo, *, cost: int = 1, per_second: float = 1, bounded: bool = False) -> timedelta | None:
    return rates.reserve("account", cost=cost, per_second=per_second, backlog_below=HALF_A_SECOND if bounded else None)


def backlog_ends_at(database: Database) -> datetime:
    with database.transaction() as connection:
        ends: datetime = connection.execute(
            text("SELECT theoretical_arrival FROM rate_buckets WHERE account = 'account'")
        ).scalar_one()
        return ends


def about(wait: timedelta | None) -> float | None:
    """In seconds; what passes between two calls here is far less than a tenth of one."""
    return None if wait is None else round(wait.total_seconds(), 0)


def test_the_first_waits_for_nothing_and_each_next_one_for_its_predecessors(rates: RateRepo) -> None:
    assert reserve(rates) == timedelta()
    assert about(reserve(rates)) == 1
    assert about(reserve(rates, cost=10)) == 2
    assert about(reserve(rates)) == 12


def test_two_processes_never_reserve_more_than_the_rate(database_url: str) -> None:
    def reserve_many(_: int) -> list[datetime]:
        with Database(database_url) as database:
            rates = RateRepo(database)
            instants = []
            for _turn in range(15):
                before = database.now()
                wait = reserve(rates, per_second=0.5)
                assert wait is not None
                instants.append(before + wait)
            return instants

    with ThreadPoolExecutor(4) as pool:
        instants = sorted(instant for part in pool.map(reserve_many, range(4)) for instant in part)

    assert len(instants) == 60
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(instants)]
    assert min(gaps) > 1, "two seconds lie between two turns; a call takes far less than the other one"
    with Database(database_url) as database:
        assert (backlog_ends_at(database) - instants[0]).total_seconds() == pytest.approx(120, abs=1)


def test_time_without_reservations_is_not_saved_up(rates: RateRepo, database: Database) -> None:
    reserve(rates)
    with database.transaction() as connection:
        connection.execute(text("UPDATE rate_buckets SET theoretical_arrival = clock_timestamp() - interval '1 hour'"))
    assert reserve(rates) == timedelta()
    assert about(reserve(rates)) == 1


def test_a_broadcast_leaves_room_and_transactional_mail_always_reserves(rates: RateRepo) -> None:
    assert reserve(rates, bounded=True) == timedelta()
    assert reserve(rates, bounded=True) is None
    assert about(reserve(rates)) == 1
    assert about(reserve(rates)) == 2
    assert reserve(rates, bounded=True) is None


def test_a_refused_broadcast_reserves_nothing(rates: RateRepo, database: Database) -> None:
    reserve(rates, cost=100)
    before = backlog_ends_at(database)
    assert reserve(rates, bounded=True) is None
    assert backlog_ends_at(database) == before


def test_a_broadcast_may_reserve_under_half_a_second_ahead(rates: RateRepo) -> None:
    reserve(rates, cost=4, per_second=10)
    wait = reserve(rates, per_second=10, bounded=True)
    assert wait is not None
    assert timedelta() < wait <= HALF_A_SECOND


def test_accounts_do_not_share_a_rate(rates: RateRepo) -> None:
    reserve(rates, cost=100)
    assert rates.reserve("another", cost=1, per_second=1, backlog_below=None) == timedelta()


def test_nobody_reserves_before_the_instant_that_the_provider_asked_for(rates: RateRepo) -> None:
    rates.push_back("account", wait=30 * A_SECOND)
    assert about(reserve(rates)) == 30
    assert reserve(rates, bounded=True) is None


def test_a_shorter_wish_does_not_shorten_the_wait(rates: RateRepo, database: Database) -> None:
    reserve(rates, cost=60)
    before = backlog_ends_at(database)
    rates.push_back("account", wait=5 * A_SECOND)
    assert backlog_ends_at(database) == before
