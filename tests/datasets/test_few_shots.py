"""A few labelled pictures: as many of each class as asked for, of the train part only, the protocols' own draws."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.few_shots import FewShots, draw_rows
from embodied_ssl.datasets.target import Part
from embodied_ssl.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ClassFolder.tiny(tmp_path_factory.mktemp("few") / "new").root


def chosen(root: str, shots: int, draw: int = 0) -> set[str]:
    return set(FewShots(root, shots=shots, draw=draw).open("train").recordings)


def test_so_many_of_each_class_and_all_from_the_train_part(root: str) -> None:
    whole = ClassFolder(root).target()
    for draw in range(5):
        few = FewShots(root, shots=2, draw=draw).open("train")
        assert isinstance(few, Part)
        assert Counter(few[row]["label"] for row in range(len(few))) == {0: 2, 1: 2, 2: 2}
        assert set(few.recordings) <= set(whole.train.recordings)
        assert not set(few.rows) & set(whole.test.rows)
        assert {"picture", "label"} <= few.provides


def test_held_out_is_the_whole_test_part_and_all_is_both(root: str) -> None:
    spec = FewShots(root, shots=2)
    assert list(spec.open("held_out").recordings) == list(ClassFolder(root).target().test.recordings)
    assert list(spec.open().recordings) == [*spec.open("train").recordings, *spec.open("held_out").recordings]
    assert pickle.loads(pickle.dumps(spec.open()))[0]["label"] == spec.open()[0]["label"]


def test_draws_differ_are_repeatable_and_grow(root: str) -> None:
    assert chosen(root, 2, 0) == chosen(root, 2, 0)
    assert len({frozenset(chosen(root, 2, draw)) for draw in range(6)}) > 3
    assert chosen(root, 2) < chosen(root, 4)
    assert chosen(root, 6) == set(ClassFolder(root).target().train.recordings)


def test_they_are_the_pictures_that_the_low_shot_protocol_draws(root: str) -> None:
    part = ClassFolder(root).target().train
    labels = np.array([part[row]["label"] for row in range(len(part))])
    rows = draw_rows(labels, part.recordings, 3, 4)
    assert chosen(root, 3, 4) == {part.recordings[row] for row in rows}


def test_more_than_there_are_is_refused_with_what_there_is(root: str) -> None:
    with pytest.raises(UserError, match=r"class 'blue' has 6 pictures for training, not 7; lower it with --set data\.shots=6"):
        FewShots(root, shots=7).open("train")
    with pytest.raises(UserError, match="give at least 1 shot"):
        FewShots(root, shots=0)
    assert not FewShots.recognises(Path(root))
