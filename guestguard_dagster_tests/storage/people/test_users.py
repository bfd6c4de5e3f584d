from uuid import uuid4

import pytest

from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.errors import UserNotFound
from guestguard_dagster.storage.people.users import UserRepo


def test_an_address_has_one_user_whatever_its_case(database: Database) -> None:
    users = UserRepo(database)
    first = users.get_or_create(email=" Ada@Example.com ", name="Ada")
    assert users.get_or_create(email="ada@example.COM", name="Somebody else") == first
    assert (first.email, first.name) == ("Ada@example.com", "Ada")
    assert users.get(first.id) == first


def test_an_address_has_one_user_whatever_its_spelling(database: Database) -> None:
    users = UserRepo(database)
    first = users.get_or_create(email="ada@bücher.example", name="Ada")
    assert users.get_or_create(email="ＡＤＡ@xn--bcher-kva.example", name="Somebody else") == first
    assert users.by_email("ada@bü\u00adcher.example") == first
    assert users.by_email("ada@bucher.example") is None


def test_a_missing_user_is_named_by_id(database: Database) -> None:
    missing = uuid4()
    with pytest.raises(UserNotFound, match=str(missing)):
        UserRepo(database).get(missing)


def test_a_user_in_a_log_line_shows_no_address(database: Database) -> None:
    assert "example.com" not in repr(UserRepo(database).get_or_create(email="ada@example.com", name="Ada"))
