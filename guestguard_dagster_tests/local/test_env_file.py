"""`guestguard services` owns one block of `.env` and leaves the rest of the file alone."""

from pathlib import Path
from tempfile import TemporaryDirectory

from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from guestguard_dagster.local.env_file import read_block, write_block

_NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,10}", fullmatch=True)
_VALUES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=40)
_OTHER_TEXT = st.lists(st.sampled_from(["# a note", "NATS_URL=nats://elsewhere:4222", "", "ENV=development"])).map(
    "\n".join
)


@given(entries=st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=5))
def test_every_value_is_read_back_as_it_was(entries: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        write_block(path, entries)
        assert read_block(path) == entries
        assert dotenv_values(path) == entries


@given(other=_OTHER_TEXT, first=st.dictionaries(_NAMES, _VALUES), second=st.dictionaries(_NAMES, _VALUES))
def test_the_rest_of_the_file_stays_whatever_is_written_and_removed(
    other: str, first: dict[str, str], second: dict[str, str]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / ".env"
        path.write_text(other)
        for entries in (first, second, {}):
            write_block(path, entries)
            assert path.read_text().startswith(other)
            assert read_block(path) == entries
        assert path.read_text() == other


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("ENV=development")
    write_block(path, {"NATS_URL": "nats://127.0.0.1:4223"})
    once = path.read_text()
    write_block(path, {"NATS_URL": "nats://127.0.0.1:4223"})
    assert path.read_text() == once


def test_text_behind_the_block_is_kept(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    write_block(path, {"NATS_URL": "nats://127.0.0.1:4223"})
    path.write_text(path.read_text() + "ENV=development\n")
    write_block(path, {"NATS_URL": "nats://127.0.0.1:9999"})
    assert dotenv_values(path) == {"NATS_URL": "nats://127.0.0.1:9999", "ENV": "development"}


def test_a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    new, old = tmp_path / "new.env", tmp_path / "old.env"
    old.write_text("ENV=development\n")
    old.chmod(0o640)
    for path in (new, old):
        write_block(path, {"GUESTGUARD_SECRET_KEY": "abc"})
    assert new.stat().st_mode & 0o777 == 0o600
    assert old.stat().st_mode & 0o777 == 0o640
