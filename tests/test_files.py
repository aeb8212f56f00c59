"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from embodied_ssl.errors import UserError
from embodied_ssl.files import atomic, read_lines, write_json, write_lines


def fail(number: int) -> None:
    raise OSError(number, os.strerror(number))


def interrupt(written: int) -> None:
    raise KeyboardInterrupt


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_exception_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as file:
        interrupt(file.write(b"half of the new"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_nothing_shows_before_the_end(tmp_path: Path) -> None:
    with atomic(tmp_path / "file") as file:
        file.write(b"new")
        assert not (tmp_path / "file").exists()
    assert (tmp_path / "file").read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_folders_are_made(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "c.json", {"x": 1})
    assert (tmp_path / "a" / "b" / "c.json").read_text() == '{\n  "x": 1\n}\n'


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda number: fail(errno.ENOSPC))
    with (
        pytest.raises(UserError, match=r"the disk is full: '.*file' was not written and its old version is kept"),
        atomic(path) as file,
    ):
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_disk_that_fills_while_writing_is_said(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(UserError, match="the disk is full"), atomic(tmp_path / "file"), full.open("wb", buffering=0) as file:
        file.write(b"new")
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_an_unwritable_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: fail(number))
    with pytest.raises(UserError, match=r"cannot be written \(.*\); choose another folder"), atomic(tmp_path / "file"):
        pass


def test_a_file_where_a_folder_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("not a folder")
    for path in (tmp_path / "run" / "config.json", tmp_path / "run" / "checkpoints" / "last.pt"):
        with pytest.raises(UserError, match="cannot be written"):
            write_json(path, {})


def test_other_errors_are_not_disguised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: fail(errno.EIO))
    with pytest.raises(OSError, match="put/output"), atomic(tmp_path / "file"):
        pass
    assert names(tmp_path) == []


def test_lines_come_back(tmp_path: Path) -> None:
    rows = [{"step": 1, "name": "ä\nb"}, {"step": 2}]
    write_lines(tmp_path / "log", rows)
    assert read_lines(tmp_path / "log") == rows


def test_a_cut_last_line_is_dropped(tmp_path: Path) -> None:
    write_lines(tmp_path / "log", [{"step": 1}, {"step": 2}])
    whole = (tmp_path / "log").read_bytes()
    for cut in range(len(whole) - 11, len(whole) - 2):
        (tmp_path / "log").write_bytes(whole[:cut])
        assert read_lines(tmp_path / "log") == [{"step": 1}]


def test_an_absent_file_has_no_lines(tmp_path: Path) -> None:
    assert read_lines(tmp_path / "none") == []
