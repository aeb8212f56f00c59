"""One writer holds a temporary; the dead hold nothing, and nobody loses what another has finished."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from embodied_ssl.claims import claimed, remove_unclaimed
from embodied_ssl.files import TEMPORARY


def write(path: Path, data: bytes) -> bool:
    with claimed(path) as file:
        if file is None:
            return False
        file.write(data)
        file.flush()
        os.replace(file.name, path)
    return True


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_is_written_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    assert write(tmp_path / "a", b"first")
    assert write(tmp_path / "a", b"2nd")
    assert (tmp_path / "a").read_bytes() == b"2nd"
    assert names(tmp_path) == ["a"]


def test_what_is_not_renamed_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with claimed(tmp_path / "a") as file:
        assert file is not None
        file.write(b"half")
        file.flush()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_only_one_holds_it(tmp_path: Path) -> None:
    with claimed(tmp_path / "a") as file:
        assert file is not None
        assert not write(tmp_path / "a", b"another")
        assert write(tmp_path / "b", b"another")
        child = os.fork()
        if child == 0:
            os._exit(int(write(tmp_path / "a", b"a child's")))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert remove_unclaimed(tmp_path) == 0
        assert names(tmp_path) == [f"{TEMPORARY}a", "b"]
    assert names(tmp_path) == ["b"]


def test_the_next_takes_over_from_the_dead(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with claimed(tmp_path / "a") as file:
            assert file is not None
            file.write(b"much longer than what comes next")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert names(tmp_path) == [f"{TEMPORARY}a"]
    assert write(tmp_path / "a", b"next")
    assert (tmp_path / "a").read_bytes() == b"next"
    (tmp_path / f"{TEMPORARY}b").write_bytes(b"of one long dead")
    assert remove_unclaimed(tmp_path) == 1
    assert names(tmp_path) == ["a"]


def test_many_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each renames under the others' feet; whatever is there is always whole."""
    seen: list[bytes] = []

    def work(number: int) -> None:
        for _ in range(50):
            write(tmp_path / "a", bytes([number]) * 3000)
            seen.append((tmp_path / "a").read_bytes())

    write(tmp_path / "a", bytes(3000))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 200
    assert all(len(data) == 3000 and len(set(data)) == 1 for data in seen)
    assert names(tmp_path) == ["a"]


def test_without_locks_each_writes_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(file: object, how: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", none)
    assert write(tmp_path / "a", b"first")
    assert names(tmp_path) == ["a"]
    (tmp_path / f"{TEMPORARY}b").write_bytes(b"whose?")
    assert remove_unclaimed(tmp_path) == 0


def test_a_disk_that_fails_is_not_taken_for_one_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: object, how: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(OSError, match="error"):
        write(tmp_path / "a", b"first")
    assert names(tmp_path) == []
