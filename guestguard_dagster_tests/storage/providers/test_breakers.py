"""Circuit breakers: seen by all processes, probed by one."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import text

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.providers.breakers import FIRST_OPEN_TIME, LONGEST_OPEN_TIME, BreakerRepo

ACCOUNT = "smtp:mail.example.com:587:anonymous"
A_SECOND = timedelta(seconds=1)


@pytest.fixture
def breakers(database: Database) -> BreakerRepo:
    return BreakerRepo(database)


def let_the_open_time_pass(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE breakers SET open_until = clock_timestamp()"))


def let_the_probe_expire(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(text("UPDATE breakers SET probe_expires_at = clock_timestamp()"))


def is_about(actual: timedelta, expected: timedelta) -> bool:
    return expected - 5 * A_SECOND < actual <= expected


def test_an_account_is_open_until_something_is_wrong_with_it(breakers: BreakerRepo) -> None:
    assert breakers.get(ACCOUNT) is None
    assert breakers.win_probe(ACCOUNT) is None
    assert breakers.close(ACCOUNT) is None


def test_an_open_breaker_tells_everybody_why_and_for_how_long(breakers: BreakerRepo) -> None:
    breakers.open(ACCOUNT, reason="the key was revoked")
    breaker = breakers.get(ACCOUNT)
    assert breaker is not None
    assert breaker.reason == "the key was revoked"
    assert is_about(breaker.remaining, FIRST_OPEN_TIME)
    assert breakers.get("another account") is None


def test_nobody_probes_before_the_open_time_is_over(breakers: BreakerRepo) -> None:
    breakers.open(ACCOUNT, reason="quota")
    assert breakers.win_probe(ACCOUNT) is None


def test_one_of_many_wins_the_probe(breakers: BreakerRepo, database: Database) -> None:
    breakers.open(ACCOUNT, reason="quota")
    let_the_open_time_pass(database)
    start = Barrier(5)

    def try_to_win(_: int) -> bool:
        start.wait()
        return breakers.win_probe(ACCOUNT) is not None

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(try_to_win, range(5))) == 1


def test_a_probe_whose_process_died_is_won_again(breakers: BreakerRepo, database: Database) -> None:
    breakers.open(ACCOUNT, reason="quota")
    let_the_open_time_pass(database)
    assert breakers.win_probe(ACCOUNT) is not None
    let_the_probe_expire(database)
    assert breakers.win_probe(ACCOUNT) is not None


def test_a_probe_given_back_is_free_at_once_but_only_its_holder_gives_it_back(
    breakers: BreakerRepo, database: Database
) -> None:
    breakers.open(ACCOUNT, reason="quota")
    let_the_open_time_pass(database)
    dead = breakers.win_probe(ACCOUNT)
    let_the_probe_expire(database)
    alive = breakers.win_probe(ACCOUNT)
    assert dead is not None
    assert alive is not None

    breakers.give_back_probe(ACCOUNT, dead)
    assert breakers.win_probe(ACCOUNT) is None

    breakers.give_back_probe(ACCOUNT, alive)
    assert breakers.win_probe(ACCOUNT) is not None


def test_each_failed_probe_doubles_the_open_time_up_to_a_bound(breakers: BreakerRepo, database: Database) -> None:
    breakers.open(ACCOUNT, reason="quota")
    expected = FIRST_OPEN_TIME
    for _ in range(10):
        let_the_open_time_pass(database)
        assert breakers.win_probe(ACCOUNT) is not None
        expected = min(2 * expected, LONGEST_OPEN_TIME)
        assert is_about(breakers.open(ACCOUNT, reason="quota").remaining, expected)
    assert expected == LONGEST_OPEN_TIME


def test_news_from_hand_offs_under_way_does_not_lengthen_it(breakers: BreakerRepo) -> None:
    first = breakers.open(ACCOUNT, reason="quota")
    again = breakers.open(ACCOUNT, reason="quota, too")
    assert again.open_until == first.open_until
    assert again.reason == "quota, too"


def test_the_providers_own_wish_is_respected(breakers: BreakerRepo, database: Database) -> None:
    wish = timedelta(hours=6)
    assert is_about(breakers.open(ACCOUNT, reason="monthly quota", first=wish, longest=wish).remaining, wish)
    let_the_open_time_pass(database)
    assert is_about(breakers.open(ACCOUNT, reason="monthly quota", first=wish, longest=wish).remaining, wish)


def test_a_wish_is_respected_by_a_breaker_that_had_opened_for_less(breakers: BreakerRepo, database: Database) -> None:
    wish = timedelta(hours=6)
    breakers.open(ACCOUNT, reason="busy", first=timedelta(seconds=1), longest=timedelta(seconds=8))
    let_the_open_time_pass(database)
    assert is_about(breakers.open(ACCOUNT, reason="monthly quota", first=wish, longest=wish).remaining, wish)


def test_a_short_outage_is_looked_at_again_soon_up_to_its_own_bound(breakers: BreakerRepo, database: Database) -> None:
    first, longest = timedelta(seconds=2), timedelta(seconds=8)
    for expected in (2, 4, 8, 8):
        breaker = breakers.open(ACCOUNT, reason="no session", first=first, longest=longest)
        assert is_about(breaker.remaining, timedelta(seconds=expected))
        let_the_open_time_pass(database)


def test_closing_tells_what_was_waited_for_and_starts_over(breakers: BreakerRepo, database: Database) -> None:
    for _ in range(3):
        breakers.open(ACCOUNT, reason="quota")
        let_the_open_time_pass(database)
    assert breakers.close(ACCOUNT) == "quota"
    assert breakers.get(ACCOUNT) is None
    assert is_about(breakers.open(ACCOUNT, reason="quota").remaining, FIRST_OPEN_TIME)


def test_breakers_of_accounts_that_are_used_no_more_are_forgotten(breakers: BreakerRepo) -> None:
    breakers.open(ACCOUNT, reason="quota")
    breakers.open("resend:old key", reason="the key was revoked")
    assert breakers.close_all_but({ACCOUNT, "log:sms"}) == ["the key was revoked"]
    assert breakers.get(ACCOUNT) is not None
    assert breakers.get("resend:old key") is None
