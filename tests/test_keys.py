"""Keyed randomness: the same for ever, and different for different keys."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from embodied_ssl.keys import digest, generator, torch_seed

KEYS = [(), ("",), (0,), ("0",), (1, "2"), ("1", 2), ("12",), (12,), (1, 2), (2, 1), ("a", "b"), ("b", "a"), ("ab",), (-1,)]


def test_digests_are_pinned() -> None:
    """A change here changes every run that anybody has recorded."""
    assert digest(0, "order", "", 0, 0) == 0xFCFEEBCE8D86F65D061C58306A5B2442
    assert digest("held out", "drive_0001") == 0x3621335F9F835D51F0263ED139CEC4E1
    assert torch_seed(0, "weights", 0) == 724552845


def test_a_generator_is_pinned() -> None:
    assert generator(0, "draw").integers(1000, size=4).tolist() == [30, 272, 84, 525]


def test_a_generator_is_numpys_for_the_digest_and_can_be_sent() -> None:
    made, wanted = generator("draw", 3), np.random.Generator(np.random.Philox(key=digest("draw", 3)))
    assert made.integers(1 << 60, size=9).tolist() == wanted.integers(1 << 60, size=9).tolist()
    assert pickle.loads(pickle.dumps(made)).random() == wanted.random()


@pytest.mark.parametrize(("one", "two"), itertools.combinations(KEYS, 2))
def test_different_keys_differ(one: tuple[int | str, ...], two: tuple[int | str, ...]) -> None:
    assert digest(*one) != digest(*two)


def test_whole_numbers_of_numpy_key_as_pythons() -> None:
    assert digest(np.int64(7), np.uint8(3)) == digest(7, 3)


@pytest.mark.parametrize("word", [1.0, np.float64(1), None, b"1", (1,)])
def test_anything_but_words_and_whole_numbers_is_refused(word: object) -> None:
    with pytest.raises(TypeError, match="whole numbers and strings"):
        digest("seed", word)  # type: ignore[arg-type]


def test_a_generator_does_not_depend_on_those_made_before() -> None:
    first = generator(1, "a").random(3)
    generator(2, "b").random(100)
    assert np.array_equal(first, generator(1, "a").random(3))


def test_neighbouring_keys_are_uncorrelated() -> None:
    draws = np.stack([generator(0, "draw", i).standard_normal(2000) for i in range(20)])
    correlation = np.corrcoef(draws) - np.eye(20)
    assert np.abs(correlation).max() < 0.1


def test_torch_seeds_fit_in_32_bits() -> None:
    assert all(0 <= torch_seed("any", i) < 2**32 for i in range(1000))
    assert len({torch_seed("any", i) for i in range(1000)}) == 1000
