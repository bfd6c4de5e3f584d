"""One command at a time runs services in a folder; what it remembers survives, and damage is no obstacle."""

import multiprocessing
import os
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from guestguard_dagster.local.errors import LocalServiceError
from guestguard_dagster.local.folder import AlreadyRunning, DataFolder

_spawning = multiprocessing.get_context("spawn")


def test_a_second_command_is_told_who_runs(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with (
        folder.locked_by("guestguard up"),
        pytest.raises(AlreadyRunning, match=rf"`guestguard up` \(process {os.getpid()}\) is already running"),
        DataFolder(tmp_path).locked_by("guestguard services"),
    ):
        pass
    with folder.locked_by("guestguard services"):
        pass


def test_what_runs_can_be_found_while_it_runs_and_not_afterwards(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with folder.locked_by("guestguard up"):
        folder.announce("guestguard up", {"NATS_URL": "nats://127.0.0.1:4223"})
        running = DataFolder(tmp_path).running()
        assert running is not None
        assert (running.pid, running.command) == (os.getpid(), "guestguard up")
        assert running.environ == {"NATS_URL": "nats://127.0.0.1:4223"}
    assert DataFolder(tmp_path).running() is None


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    locked = _spawning.Event()
    holder = _spawning.Process(target=_hold, args=(tmp_path, locked))
    holder.start()
    assert locked.wait(60)
    assert DataFolder(tmp_path).running() is not None
    os.kill(holder.pid or 0, signal.SIGKILL)
    holder.join()

    assert DataFolder(tmp_path).running() is None
    with DataFolder(tmp_path).locked_by("guestguard up"):
        pass


def test_the_file_that_carries_addresses_is_for_its_owner_alone(tmp_path: Path) -> None:
    with DataFolder(tmp_path / "data").locked_by("guestguard up"):
        assert (tmp_path / "data" / "running.json").stat().st_mode & 0o777 == 0o600


def test_ports_are_remembered(tmp_path: Path) -> None:
    DataFolder(tmp_path).remember("ports", {"postgres": 5440})
    DataFolder(tmp_path).remember("other", {"a": 1})
    assert DataFolder(tmp_path).remembered("ports") == {"postgres": 5440}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"ports": 7}'])
def test_a_damaged_memory_counts_as_empty(tmp_path: Path, damage: str) -> None:
    (tmp_path / "state.json").write_text(damage)
    folder = DataFolder(tmp_path)
    assert folder.remembered("ports") == {}
    folder.remember("ports", {"nats": 4223})
    assert folder.remembered("ports") == {"nats": 4223}


def test_the_secret_key_is_made_once(tmp_path: Path) -> None:
    key = DataFolder(tmp_path).secret_key()
    assert len(key) >= 32
    assert DataFolder(tmp_path).secret_key() == key
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_a_place_where_no_folder_can_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalServiceError, match=r"the folder .*file/data cannot be made: Not a directory"):
        DataFolder(tmp_path / "file" / "data").make()


def _hold(path: Path, locked: Event) -> None:
    with DataFolder(path).locked_by("guestguard up"):
        locked.set()
        signal.pause()
