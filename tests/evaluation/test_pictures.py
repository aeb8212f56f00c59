"""Pictures kept as squares: the same bytes from files and from the cache, bad ones left out of every row alike."""

import os
from pathlib import Path

import numpy as np
import pytest
from made_up import labelled

from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.io.pictures import FilePicture
from embodied_ssl.datasets.target import Part
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.pictures import Preprocessing, batches, read_pictures

SMALL = Preprocessing(size=24, resize=28)


@pytest.fixture
def folder(tmp_path: Path) -> ClassFolder:
    return ClassFolder.tiny(tmp_path / "tiny")


def test_squares_are_those_of_the_files_in_their_order(folder: ClassFolder) -> None:
    source = folder.target().source
    found = read_pictures(source, SMALL)
    assert found.pixels.shape == (27, 28, 28, 3)
    for row in (0, 13, 26):
        np.testing.assert_array_equal(found.pixels[row], SMALL.square(FilePicture(source.file_name(row))))
        np.testing.assert_array_equal(SMALL.centre(found.pixels)[row], SMALL.crop(FilePicture(source.file_name(row))))
    assert found.labels.tolist() == source.labels.tolist()  # type: ignore[union-attr]


def test_the_cache_gives_the_same_and_notices_a_changed_file(folder: ClassFolder, tmp_path: Path) -> None:
    source = folder.target().source
    cache = tmp_path / "cache"
    files = [Path(source.file_name(i)) for i in range(len(source))]
    files[3].write_bytes(b"junk")
    first = read_pictures(source, SMALL, cache=cache)
    told: list[str] = []
    again = read_pictures(source, SMALL, lambda what, *_: told.append(what), cache)
    assert told == []  # nothing was decoded
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert first.fingerprint == again.fingerprint
    assert [str(item) for item in again.bad] == [str(item) for item in first.bad]
    assert "tiny" in str(again.bad[0])
    assert again.rows.tolist() == [row for row in range(27) if row != 3]
    files[3].write_bytes(files[4].read_bytes())
    os.utime(files[3], ns=(1, 1))
    mended = read_pictures(source, SMALL, cache=cache)
    assert len(mended) == 27
    for path in cache.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:100])  # half a file from elsewhere
    np.testing.assert_array_equal(read_pictures(source, SMALL, cache=cache).pixels, mended.pixels)


def test_rows_are_found_among_the_readable(folder: ClassFolder) -> None:
    source = folder.target().source
    Path(source.file_name(3)).write_bytes(b"junk")
    found = read_pictures(source, SMALL)
    assert found.find(np.array([2, 3, 4])).tolist() == [2, 3]  # row 3 is not there, row 4 is the one after row 2
    assert found.find(np.array([26])).tolist() == [25]
    assert found.find(np.array([], np.intp)).tolist() == []


def test_a_part_and_tags_keep_their_rows() -> None:
    target = labelled(12)
    rows = np.array([5, 1, 8])
    found = read_pictures(Part(target.source, rows), SMALL)
    assert found.labels.tolist() == [1, 1, 0]
    assert found.tags is not None
    np.testing.assert_array_equal(found.tags, target.source.tags[rows])  # type: ignore[index]


def test_nothing_readable_is_refused(folder: ClassFolder) -> None:
    source = folder.target().source
    for name in map(source.file_name, range(len(source))):
        Path(name).write_bytes(b"")
    with pytest.raises(UserError, match=r"no picture of tiny .* can be read"):
        read_pictures(source, SMALL)


def test_batches_cover_everything_once() -> None:
    assert [(s.start, s.stop) for s in batches(7, 3)] == [(0, 3), (3, 6), (6, 7)]
    assert list(batches(0, 3)) == []
