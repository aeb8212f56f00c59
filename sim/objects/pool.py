"""The pool of things to touch: thing k of a specification and a seed is always the same, so that splits can be made by thing.

Its form, weight, friction and stiffness are drawn by key; its colour from another key, so that colour tells nothing about
weight or stiffness. Form does: a large thing tends to be heavy, and a broad flat one stiffer than a tall narrow one of the
same stuff (Hooke: area over height), so that looking helps, and only touching settles it.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from embodied_ssl.errors import BadItem, UserError, suggest
from embodied_ssl.keys import generator
from embodied_ssl.sim.draws import colour, log_uniform
from embodied_ssl.sim.objects import forms, library, own, primitives
from embodied_ssl.sim.objects.thing import OPENING, Form, Thing
from embodied_ssl.sim.spec import Pool, Range

KINDS = ("primitives", "random", "pybullet", "own")
TOUCHED = ("hull", "parts")
_SEEN = 0.8  # correlation of log stiffness with log (area over height)
# Mean and spread of log (area over height over the pool's side) by kind; of the user's own forms nothing is known.
_BROAD = dict.fromkeys(primitives.KINDS, (-0.02, 0.42)) | {"random": (0.53, 0.50), "pybullet": (0.37, 0.44), "own": (0.4, 0.5)}
_THINGS = 4096  # that a process keeps


@lru_cache(_THINGS)
def thing(pool: Pool, seed: int, number: int) -> Thing:
    """Thing ``number`` of the pool that belongs to a seed; the same object within a process.

    Raises:
        UserError: the pool cannot be as specified (see `check`), a file of it is gone, or PyBullet is absent.
        ValueError: there are not so many things.
    """
    check(pool)
    if not 0 <= number < pool.objects:
        raise ValueError(f"thing {number} of a pool of {pool.objects}")
    rng = generator(seed, "thing", number)
    try:
        form = _form(pool, seed, number, rng)
    except BadItem as item:
        raise UserError(f"thing {number} cannot be made: {item}; its file has changed or gone, so begin anew") from None
    drawn = {
        "mass": _mass(form.volume * form.filled, pool, rng),
        "friction": float(rng.uniform(*pool.friction)),
        "spinning": float(rng.uniform(*pool.spinning)),
        "rolling": float(rng.uniform(*pool.spinning)),
        "restitution": float(rng.uniform(*pool.restitution)),
        "stiffness": _stiffness(form, pool.stiffness, pool.side, rng),
        "damping": float(rng.uniform(*pool.damping)),
    }
    brought = {name: value for name in drawn if (value := getattr(form.given, name)) is not None}
    return Thing(
        number=number,
        name=f"thing-{seed}-{number:03d}",
        form=form,
        colour=form.colour or colour(generator(seed, "colour", number)),
        **(drawn | brought),
    )


def check(pool: Pool) -> None:
    """See that a pool can be as specified.

    Raises:
        UserError: a kind, number or range that is not accepted, or no usable file in the user's folder.
    """
    _checked(pool)


@lru_cache(64)
def _checked(pool: Pool) -> None:
    if not pool.kinds:
        raise UserError(f"pool.kinds is empty; give some of {', '.join(KINDS)}")
    for kind in pool.kinds:
        if kind not in KINDS:
            raise UserError(f"pool.kinds holds '{kind}'{suggest(kind, KINDS)}")
    if len(set(pool.kinds)) < len(pool.kinds):
        raise UserError(f"pool.kinds names a kind twice: {', '.join(pool.kinds)}; things are dealt evenly among them")
    if pool.touched not in TOUCHED:
        raise UserError(f"pool.touched is '{pool.touched}'{suggest(pool.touched, TOUCHED)}")
    if pool.objects < 1:
        raise UserError(f"pool.objects is {pool.objects}; give at least 1")
    if not 0.01 <= pool.side < OPENING:
        raise UserError(f"pool.side is {pool.side} m; give 0.01 up to less than the jaw's opening, {OPENING} m")
    for name, above in (("density", True), ("mass", True), ("stiffness", True), ("friction", False), ("spinning", False)):
        _check_range(name, getattr(pool, name), above)
    _check_range("damping", pool.damping, False)
    _check_range("restitution", pool.restitution, False, 1.0)
    if "own" in pool.kinds:
        own.survey(pool.folder)


def _check_range(name: str, given: Range, above: bool, most: float = math.inf) -> None:
    low, high = given
    if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= high <= most) or (above and low == 0):
        least = "more than 0" if above else "at least 0"
        limit = "" if most == math.inf else f" and at most {most:g}"
        raise UserError(f"pool.{name} is {low} to {high}; give a lower and an upper limit, {least}{limit}")


def _form(pool: Pool, seed: int, number: int, rng: np.random.Generator) -> Form:
    """Kinds are dealt evenly: every run of as many things as there are kinds holds each of them once."""
    turn, place = divmod(number, len(pool.kinds))
    kind = pool.kinds[int(_order(seed, "kinds", turn, len(pool.kinds))[place])]
    if kind == "primitives":
        return primitives.form(primitives.KINDS[_deal(seed, kind, turn, len(primitives.KINDS))], pool.side, rng)
    if kind == "random":
        return library.random_form(library.RANDOM[_deal(seed, kind, turn, len(library.RANDOM))], pool.side, pool.touched)
    if kind == "pybullet":
        found = library.HOUSEHOLD[_deal(seed, kind, turn, len(library.HOUSEHOLD))]
        return library.household_form(found, pool.side, pool.touched)
    files = own.survey(pool.folder).good
    return own.form(files[_deal(seed, kind, turn, len(files))], pool.touched)


def _deal(seed: int, kind: str, turn: int, count: int) -> int:
    """Forms of a kind are dealt like cards: none comes twice before all have come once."""
    return int(_order(seed, kind, turn // count, count)[turn % count])


@lru_cache(256)
def _order(seed: int, what: str, round_: int, count: int) -> tuple[int, ...]:
    return tuple(generator(seed, "deal", what, round_).permutation(count).tolist())


def _mass(matter: float, pool: Pool, rng: np.random.Generator) -> float:
    """Of so many cubic metres of a drawn density; densities that would weigh too little or too much are not drawn."""
    low, high = (min(max(matter * density, pool.mass[0]), pool.mass[1]) for density in pool.density)
    return log_uniform(rng, low, high)


def _stiffness(form: Form, limits: Range, side: float, rng: np.random.Generator) -> float:
    """Log-uniform over the pool, and correlated with the logarithm of area from above over height in the likeliest rest."""
    mean, spread = _BROAD[form.name.partition("/")[0]]
    looks = (math.log(forms.broad(form) / side) - mean) / spread
    normal = _SEEN * looks + math.sqrt(1 - _SEEN**2) * rng.normal()
    low, high = (math.log(limit) for limit in limits)
    return math.exp(low + (high - low) * 0.5 * (1 + math.erf(normal / math.sqrt(2))))
