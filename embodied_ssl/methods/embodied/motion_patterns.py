"""Motion patterns: the few ways in which the camera moves, found by k-means on training drives.

A motion is what lies between two frames at most a second apart, along the axes of its source (`datasets.motion`). Motions
are divided by their standard deviation (unscaled, metres would drown radians) and clustered; of every direction the cluster
that goes farthest becomes a pattern, then the largest of the rest: turning left, turning right, driving on (Jayaraman and
Grauman 2015, section 4, keep the largest, which may all be one direction). With mirroring, every motion is clustered
together with its mirror image (`mirrored_clusters`), and a turn is kept with its mirror or not at all: a mirrored left turn
must be some right turn. Stretches of no motion would shrink the standard deviation and fill what is looked at: they are cut
down to a small share before anything is found, and are no pattern.

Legend: n motions, m axes, k clusters, G patterns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.drives import METRIC
from embodied_ssl.datasets.motion import FORWARD, LEFT_YAW, Axis
from embodied_ssl.datasets.source import Source
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.methods.embodied.mirrored_clusters import mirrored_clusters

Motions = NDArray[np.float64]  # [n, m], in the source's motion unit

STILL = 0.1  # a motion is still when each of its coordinates is below this share of the axis's root mean square
STILL_SHARE = 0.1  # of the motions looked at, at most so many are still
SMALL = 0.25  # a cluster whose centre is below this share of the largest is no pattern
SELDOM = 0.1  # nor is one that holds less than this share of what each would hold if all held alike
LEAST = {METRIC: 0.01}  # a spread below a centimetre, or half a degree, is noise: it cannot be seen in a small picture
MOST = 5000  # motions that are clustered
SAID = 3  # axes named in a caption


@dataclass(frozen=True)
class MotionPatterns:
    """Patterns found on training drives.

    Args:
        scale: what each coordinate is divided by [m]: its standard deviation.
        centres: all clusters' centres [k, m], in units of the scale, sorted along the axis that tells most of them apart
            (one that a mirror reverses, if there is any: from right to left).
        kept: which of them are patterns [G], in the same order.
        sizes: share of the motions in each cluster [k].
        axes: what the m coordinates are.
        unit: what motions are in.
    """

    scale: Motions
    centres: Motions
    kept: NDArray[np.int64]
    sizes: NDArray[np.float64]
    axes: tuple[Axis, ...] = (FORWARD, LEFT_YAW)
    unit: str = ""

    def of(self, motions: Motions) -> NDArray[np.int64]:
        """The pattern of each motion [n], as a position in ``kept``; -1 for motions of no kept cluster or not finite."""
        distances = np.linalg.norm((motions / self.scale)[:, None] - self.centres, axis=2)
        position = np.full(len(self.centres), -1)
        position[self.kept] = np.arange(len(self.kept))
        found: NDArray[np.int64] = np.where(np.isfinite(motions).all(1), position[distances.argmin(1)], -1)
        return found

    def names(self) -> list[str]:
        """Of each pattern by its direction: ``left``, ``right``, ``forward``; ``forward 2`` for the next largest of one name."""
        words = _directions(self.centres, self.sizes, self.axes)
        size = np.linalg.norm(self.centres, axis=1)
        names = {}
        for word in set(words):
            same = [int(i) for i in self.kept if words[i] == word]
            for number, i in enumerate(sorted(same, key=lambda i: (-round(size[i], 9), i)), 1):
                names[i] = word if number == 1 else f"{word} {number}"
        return [names[int(i)] for i in self.kept]

    def captions(self) -> list[str]:
        """Of each pattern its name and motion: ``left (forward 2.1, left_yaw 0.31; metres, radians)``.

        Of more than `SAID` axes, those along which it moves most for what is usual on them.
        """
        found = []
        for name, centre, motion in zip(self.names(), self.centres[self.kept], self.motions(), strict=True):
            said = sorted(np.argsort(-np.abs(centre), kind="stable")[:SAID])
            numbers = ", ".join(f"{self.axes[i].name} {motion[i]:.3g}" for i in said)
            found.append(f"{name} ({numbers}{f'; {self.unit}' if self.unit else ''})")
        return found

    def motions(self) -> Motions:
        """The motion [G, m] that each pattern stands for, in its own unit."""
        return self.centres[self.kept] * self.scale

    def missing(self) -> list[str]:
        """Directions that no pattern goes: one word for an axis of which a mirror changes nothing, else each of the two."""
        words = _directions(self.centres, self.sizes, self.axes)
        gone = {words[int(i)] for i in self.kept}
        lost = []
        for axis in self.axes:
            if axis.mirror != 1:
                lost += [word for word in (axis.less, axis.more) if word not in gone]
            elif not {axis.more, axis.less} & gone:
                lost.append(f"{axis.more} or {axis.less}")
        return lost

    def mirrored(self) -> NDArray[np.int64]:
        """Of each pattern the one nearest to its mirror image [G]: itself if it drives straight or no mirror is known."""
        own = self.centres[self.kept]
        if any(axis.mirror == 0 for axis in self.axes):
            return np.arange(len(own))
        images = own * [axis.mirror for axis in self.axes]
        nearest: NDArray[np.int64] = np.linalg.norm(images[:, None] - own, axis=2).argmin(1)
        return nearest

    def to_numbers(self) -> dict[str, NDArray[np.generic]]:
        """Everything as arrays, for buffers in a checkpoint: the words as bytes."""
        words = json.dumps({"unit": self.unit, "axes": [list(axis) for axis in self.axes]}).encode()
        known = {"scale": self.scale, "centres": self.centres, "kept": self.kept, "sizes": self.sizes}
        return {**known, "words": np.frombuffer(words, np.uint8).copy()}

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, NDArray[np.generic]]) -> MotionPatterns:
        """What `to_numbers` made."""
        words = json.loads(np.asarray(numbers["words"], np.uint8).tobytes() or b'{"unit": "", "axes": []}')
        axes = tuple(Axis(*one) for one in words["axes"])
        scale, centres, sizes = (np.asarray(numbers[name], np.float64) for name in ("scale", "centres", "sizes"))
        return cls(scale, centres, np.asarray(numbers["kept"], np.int64), sizes, axes, words["unit"])


def mirror_signs(axes: Sequence[Axis]) -> Motions:
    """What exchanging left and right multiplies each coordinate by [m].

    Raises:
        UserError: it is not known of an axis.
    """
    unknown = [axis.name for axis in axes if axis.mirror == 0]
    if unknown:
        raise UserError(
            f"what a mirror image does to {', '.join(unknown)} is not known, so pictures cannot be mirrored with their motion; "
            "set --set method.flip=false"
        )
    return np.array([axis.mirror for axis in axes], np.float64)


def find_patterns(
    motions: Motions,
    clusters: int,
    keep: int,
    mirrored: bool,
    rng: np.random.Generator,
    axes: Sequence[Axis] = (FORWARD, LEFT_YAW),
    unit: str = "",
) -> MotionPatterns:
    """k-means on scaled motions; of every direction the cluster that goes farthest, then the largest of the rest.

    Args:
        motions: finite [n, m].
        clusters: of k-means. With ``mirrored``, half as many and one more, those that turn being doubled by their image.
        keep: how many patterns at most; fewer when the others hardly move.
        mirrored: whether pictures will be mirrored with their motion.
        rng: keyed generator.
        axes, unit: what the coordinates are.

    Raises:
        UserError: fewer different motions than clusters, all motions alike, fewer than two patterns, or an axis of which it is
            not known what a mirror does.
    """
    signs = mirror_signs(axes) if mirrored else np.ones(len(axes))
    looked = _without_stretches_of_stillness(motions)[:MOST]
    scale = _scale(looked, signs, LEAST.get(unit, 0.0), axes, unit)
    different = len(np.unique(looked, axis=0))
    if different < clusters:
        raise UserError(
            f"{len(motions)} pairs of frames with {different} different motions are fewer than the {clusters} clusters of which "
            f"patterns are chosen; give more drives, or set --set method.clusters={max(2, different)}"
        )
    count = clusters // 2 + 1 if mirrored else clusters
    centres, partner = mirrored_clusters(looked / scale, count, signs, rng)
    order = _order(centres, axes)
    centres, partner = centres[order], np.argsort(order)[partner[order]]
    often = _shares(looked / scale, centres, partner) * len(centres) >= SELDOM
    sizes = _shares(motions / scale, centres, partner)
    kept = _chosen(centres, partner, often, sizes, axes, keep)
    found = MotionPatterns(scale, centres, kept, sizes, tuple(axes), unit)
    if len(kept) < 2:
        raise UserError(
            f"of {len(motions)} pairs of frames only one pattern was found ({', '.join(found.names())}), and features cannot be "
            f"asked which it is; missing are {', '.join(found.missing())}: give drives that also move so"
        )
    return found


def _shares(motions: Motions, centres: Motions, partner: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of scaled motions in each cluster [k]; a cluster and its mirror image have the same, as they are mirrored."""
    nearest = np.linalg.norm(motions[:, None] - centres, axis=2).argmin(1)
    sizes = np.bincount(nearest, minlength=len(centres)) / len(motions)
    shares: NDArray[np.float64] = (sizes + sizes[partner]) / 2
    return shares


def _without_stretches_of_stillness(motions: Motions) -> Motions:
    """The motions in their order, without those still ones that are beyond their share."""
    usual = np.sqrt((motions**2).mean(axis=0))
    still = (np.abs(motions) <= STILL * usual).all(axis=1)
    allowed = int(STILL_SHARE / (1 - STILL_SHARE) * (~still).sum())
    if still.all():
        return motions
    fewer: Motions = motions[~still | (np.cumsum(still) <= allowed)]
    return fewer


def _scale(motions: Motions, signs: Motions, least: float, axes: Sequence[Axis], unit: str) -> Motions:
    """The standard deviations of motions and their mirror images; ``least`` where they are less, 1 where an axis never changes.

    Raises:
        UserError: no axis changes by more than ``least``.
    """
    rounding = 1e-12 * np.abs(motions).max(axis=0)
    if (motions.std(axis=0) <= np.maximum(least, rounding)).all():
        shown = ", ".join(f"{axis.name} {value:.3g}" for axis, value in zip(axes, motions.mean(axis=0), strict=True))
        raise UserError(
            f"all {len(motions)} pairs of frames move alike ({shown}{f' in {unit}' if unit else ''}), so there are no patterns "
            "to tell apart; give drives that turn and drive on"
        )
    scale = np.maximum(np.concatenate([motions, motions * signs]).std(axis=0), least)
    return np.where(scale <= rounding, 1.0, scale)


def _order(centres: Motions, axes: Sequence[Axis]) -> NDArray[np.int64]:
    """Positions sorted along the axis that tells most centres apart, one that a mirror reverses if there is any."""
    spread = (centres**2).mean(axis=0)
    reversing = [i for i, axis in enumerate(axes) if axis.mirror == -1 and spread[i] > 0] or list(range(len(axes)))
    main = max(reversing, key=lambda i: (round(float(spread[i]), 9), -i))
    rounded = centres.round(9)
    keys = [rounded[:, i] for i in range(len(axes)) if i != main]
    order: NDArray[np.int64] = np.lexsort([*reversed(keys), rounded[:, main]])
    return order


def _main_axis(centres: Motions, sizes: NDArray[np.float64], axes: Sequence[Axis]) -> NDArray[np.int64]:
    """The axis that each centre [k, m] is named by: that of its largest coordinate.

    Coordinates are in units of what their axis usually shows (its root mean square over the clusters). An axis on which all
    motions go one way counts down to half: a car goes on forward through every turn, and turning is then what it does. For the
    same reason a centre whose mirror image is a centre too is named by an axis that the mirror reverses.
    """
    weights = sizes / sizes.sum() if sizes.sum() > 0 else np.full(len(centres), 1 / len(centres))
    usual = np.sqrt(weights @ centres**2)
    usual[usual <= 0] = np.inf
    one_way = np.abs(weights @ centres) / usual
    size = np.abs(centres) / usual * (1 - one_way / 2)
    signs = np.array([axis.mirror for axis in axes])
    if (signs != 0).all():
        away = np.linalg.norm((centres * signs)[:, None] - centres, axis=2)
        has_image = (away.min(axis=1) < 1e-6) & (away.diagonal() > 1e-6)
        size[np.ix_(has_image, signs == 1)] = -1
    largest: NDArray[np.int64] = size.argmax(axis=1)
    return largest


def _directions(centres: Motions, sizes: NDArray[np.float64], axes: Sequence[Axis]) -> list[str]:
    """What each centre [k, m] is called: the word of its axis, in the direction that it goes."""
    main = _main_axis(centres, sizes, axes)
    return [axes[i].more if centre[i] > 0 else axes[i].less for i, centre in zip(main, centres, strict=True)]


def _chosen(
    centres: Motions,
    partner: NDArray[np.int64],
    often: NDArray[np.bool_],
    sizes: NDArray[np.float64],
    axes: Sequence[Axis],
    keep: int,
) -> NDArray[np.int64]:
    """Positions of at most ``keep`` patterns: what goes farthest in each direction first, partners always together."""
    words, main = _directions(centres, sizes, axes), _main_axis(centres, sizes, axes)
    size = np.linalg.norm(centres, axis=1).round(9)
    along = np.abs(centres[np.arange(len(centres)), main]).round(9)
    groups = [
        tuple(sorted({int(i), int(partner[i])}))
        for i in np.argsort(-size, kind="stable")
        if size[i] >= SMALL * size[often].max() and often[i] and i <= partner[i]
    ]
    kept: list[int] = []

    def take(group: tuple[int, ...]) -> None:
        if group[0] not in kept and len(kept) + len(group) <= keep:
            kept.extend(group)

    for word in dict.fromkeys(words[group[0]] for group in groups):
        take(max((group for group in groups if words[group[0]] == word), key=lambda group: float(along[group[0]])))
    for group in groups:
        take(group)
    return np.array(sorted(kept), np.int64)


def gather_motions(source: Source, rng: np.random.Generator, most: int = 20_000) -> Motions:
    """Motions [n, m] of samples in an order drawn at random, time differences drawn evenly; no pixel is read.

    One of each sample, more where that would be fewer than ``most``. Motions that are not finite are passed over.

    Raises:
        UserError: the source has no motions, or does not say what their numbers are.
    """
    chosen = rng.permutation(len(source))[:most]
    each = -(-most // max(1, len(chosen)))
    found: list[Motions] = []
    for index in chosen:
        try:
            motions = np.asarray(source[int(index)]["motions"], np.float64)
        except BadItem:
            continue
        motions = motions[np.isfinite(motions).all(axis=1)]
        found.append(motions[rng.permutation(len(motions))[:each]])
    every = np.concatenate(found) if found else np.zeros((0, 0))
    if not len(every):
        raise UserError(f"{source.name} holds no two frames within the horizon; see what was left out with embodied-ssl inspect")
    if every.shape[1] != len(source.motion_axes):
        raise UserError(
            f"{source.name} has motions of {every.shape[1]} numbers and names {len(source.motion_axes)} axes; its reader must "
            "say what each number is (motion_axes)"
        )
    shuffled: Motions = every[rng.permutation(len(every))[:most]]
    return shuffled
