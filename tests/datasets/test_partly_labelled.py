"""Pictures labelled in part: the few keep their labels and their share, the rest comes without, the test part is whole."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import pytest

from embodied_ssl.datasets.class_folder import ClassFolder
from embodied_ssl.datasets.few_shots import FewShots
from embodied_ssl.datasets.partly_labelled import PartlyLabelled
from embodied_ssl.datasets.target import Part
from embodied_ssl.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return ClassFolder.tiny(tmp_path_factory.mktemp("partly") / "new").root


def test_the_few_have_labels_and_all_others_none(root: str) -> None:
    source = PartlyLabelled(root, shots=2, draw=1, share=0.5).open("train")
    few = FewShots(root, shots=2, draw=1).open("train")
    truth = {name: few[row]["label"] for row, name in enumerate(few.recordings)}
    told = Counter()
    for row, name in enumerate(source.recordings):
        assert source[row]["label"] == truth.get(name, -1)
        told[name in truth] += 1
    assert set(source.recordings) == set(ClassFolder(root).target().train.recordings)
    assert told == {True: 12, False: 12}  # 6 pictures twice, for a half of all
    assert pickle.loads(pickle.dumps(source))[len(source) - 1]["label"] == -1


@pytest.mark.parametrize(("share", "times"), [(0.01, 1), (0.25, 1), (0.6, 3), (0.75, 6)])
def test_the_few_are_repeated_to_their_share(root: str, share: float, times: int) -> None:
    source = PartlyLabelled(root, shots=2, share=share).open("train")
    assert len(source) == 6 * times + 12


def test_held_out_is_the_test_part_with_its_labels_and_all_is_both(root: str) -> None:
    spec = PartlyLabelled(root, shots=4)
    out, whole = spec.open("held_out"), spec.open("all")
    assert list(out.recordings) == list(ClassFolder(root).target().test.recordings)
    assert {out[row]["label"] for row in range(len(out))} == {0, 1, 2}
    assert isinstance(out, Part)
    assert isinstance(whole, Part)
    labels = {int(row): whole[place]["label"] for place, row in enumerate(whole.rows)}
    assert {int(row): labels[row] for row in out.rows} == {int(row): out[place]["label"] for place, row in enumerate(out.rows)}
    assert Counter(labels.values())[-1] == 6


def test_what_leaves_nothing_unlabelled_is_refused(root: str) -> None:
    with pytest.raises(UserError, match=r"all pictures of .* would be labelled; lower it with --set data\.shots=5"):
        PartlyLabelled(root, shots=6).open("train")
    with pytest.raises(UserError, match=r"share is 1\.0; give the share of samples"):
        PartlyLabelled(root, share=1.0)
    assert not PartlyLabelled.recognises(Path(root))
