"""Keyed randomness: a draw depends on its key alone, never on how many draws came before it.

Worker count, restarts and ranks therefore change nothing. A key is any tuple of words and whole numbers, such as
``(seed, "draw", stream, epoch, position)``; keys that differ anywhere give independent generators.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

Word = int | str


@dataclass(frozen=True)
class _Key(ISeedSequence):
    """128 bits as Philox takes them: given as ``key=``, they would cost a draw of the system's entropy that is not used."""

    bits: int

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        return np.array([self.bits & 0xFFFFFFFFFFFFFFFF, self.bits >> 64], dtype)


def digest(*key: Word) -> int:
    """128 bits that depend on every word of the key and on their order.

    Raises:
        TypeError: a word is neither a whole number nor a string (a float would key differently after rounding).
    """
    for word in key:
        if not isinstance(word, int | str | np.integer):
            raise TypeError(f"a key is made of whole numbers and strings, not {word!r}")
    text = "\x1f".join(f"{'s' if isinstance(word, str) else 'i'}{word}" for word in key)
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=16).digest(), "little")


def generator(*key: Word) -> np.random.Generator:
    """A fresh numpy generator (Philox, counter at zero) for this key."""
    return np.random.Generator(np.random.Philox(_Key(digest(*key))))  # type: ignore[arg-type]  # stubs know one class only


def torch_seed(*key: Word) -> int:
    """A seed for torch. 32 bits only: a CPU ``torch.Generator`` ignores all bits above them."""
    return digest(*key) & 0xFFFFFFFF
