"""`guestguard token`: a bearer token for the API, of a user who exists or is to be made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guestguard_dagster.settings import Settings
from guestguard_dagster.storage.database import Database
from guestguard_dagster.storage.people.users import UserRepo
from guestguard_dagster.web.auth import BearerTokens
from guestguard_dagster_tests.factories import make_user
from guestguard_dagster_tests.local.commands import project_folder, run

_SECRET = "a secret for tests only"


@pytest.fixture
def project(database_url: str) -> Iterator[Path]:
    with project_folder() as project:
        (project / ".env").write_text(f"DATABASE_URL={database_url}\nGUESTGUARD_SECRET_KEY={_SECRET}\n")
        yield project


@pytest.fixture
def tokens() -> BearerTokens:
    return BearerTokens.from_settings(Settings.model_validate({"guestguard_secret_key": _SECRET}))


def test_a_token_names_the_user_with_this_address(project: Path, database: Database, tokens: BearerTokens) -> None:
    user = make_user(database, email="ada@example.com")
    code, output = run(project, "token", "--email", "ADA@example.com")
    assert code == 0, output
    assert tokens.identity(output.strip()).user_id == user.id


def test_an_unknown_user_is_made_only_with_a_name(project: Path, database: Database, tokens: BearerTokens) -> None:
    code, output = run(project, "token", "--email", "new@example.com")
    assert (code, "--name" in output) == (1, True)
    assert UserRepo(database).by_email("new@example.com") is None
    code, output = run(project, "token", "--email", "new@example.com", "--name", "Nina New")
    assert code == 0, output
    user = UserRepo(database).by_email("new@example.com")
    assert user is not None
    assert (user.name, tokens.identity(output.strip()).user_id) == ("Nina New", user.id)
