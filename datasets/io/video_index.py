"""One pass over a video finds every frame that can be shown, once and for all: it decodes, so what it lists exists.

Edit lists, B-frames, variable frame rates, late starts and cut-off files need no special case then. The same pass
surveys what is seen: how much each frame moves, where shots are cut, what lies inside borders.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache, survey
from embodied_ssl.datasets.io.borders import upright
from embodied_ssl.datasets.io.greys import SKETCH_SIZE, grey, sketch_of
from embodied_ssl.datasets.io.survey import Survey
from embodied_ssl.datasets.io.video_stream import Sweep, open_video
from embodied_ssl.errors import BadItem

VERSION = 3  # of the stored form and of what the pass decides; raise it when either changes
IN_MEMORY = 256

VERSIONS = (VERSION, survey.VERSION)

# Is given every sound frame with its number during a pass, as decoded, not turned upright. Number 0 begins anew: a file
# without usable times is passed over twice, and what was given before then counts no more.
Each = Callable[[int, VideoFrame], None]


@dataclass(frozen=True)
class VideoIndex:
    """What can be shown of one video file.

    Attributes:
        pts: when each frame is shown, in units of ``time_base``; strictly rising, int64 [n].
        time_base: seconds per unit.
        keyframes: times from which decoding can begin; a frame is safe to decode from any keyframe not after it, int64 [k].
        rotation: quarter turns counter-clockwise that make a decoded frame upright.
        size: height and width of an upright frame.
        motion: mean absolute difference to the frame before at 160x90, in grey levels, float32 [n]; the first of a shot is 0.
        shots: which uncut shot each frame is of, int64 [n].
        content: what lies inside black bars and burnt-in borders: top, left, height, width as shares of the upright frame.
        sketch: each frame as 8x8 grey cells, as decoded (not turned), uint8 [n, 8, 8]: what a frame read later must look like.
        open_gop: some frames are shown before the keyframe they are stored behind.
        errors: packets that could not be decoded.
        by_order: the file keeps no usable times: ``pts`` only counts the frames, and reading starts at the beginning.
        container: FFmpeg's name of the file format.
        fingerprint: which file this was: path, size and time of change.
    """

    pts: NDArray[np.int64]
    time_base: Fraction
    keyframes: NDArray[np.int64]
    rotation: int
    size: tuple[int, int]
    motion: NDArray[np.float32]
    shots: NDArray[np.int64]
    content: tuple[float, float, float, float]
    sketch: NDArray[np.uint8]
    open_gop: bool
    errors: int
    by_order: bool
    container: str
    fingerprint: tuple[str, int, int]

    def __len__(self) -> int:
        return len(self.pts)

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """When each frame is shown [n]."""
        return self.pts.astype(np.float64) * float(self.time_base)

    @cached_property
    def begins(self) -> frozenset[int]:
        """The times of ``keyframes``, to ask about one quickly."""
        return frozenset(self.keyframes.tolist())

    @cached_property
    def least_gap(self) -> float:
        """The shortest time between two frames in seconds; 1 where there is one frame only."""
        return float(np.diff(self.seconds).min()) if len(self) > 1 else 1.0


def fingerprint(path: Path | str) -> tuple[str, int, int]:
    """Absolute path, size and time of change in nanoseconds.

    Raises:
        BadItem: there is no such file, or it cannot be looked at.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise BadItem(str(path), f"cannot be read ({error.strerror})") from None
    return os.path.abspath(path), found.st_size, found.st_mtime_ns


def scan(path: Path | str, each: Each | None = None) -> VideoIndex:
    """Decode a whole file once and note what can be shown.

    Args:
        path: the file.
        each: is given every frame on the way, so that whoever wants them all need not decode again.

    Raises:
        BadItem: nothing in it can be shown, with the reason.
    """
    mark = fingerprint(path)
    index, unplaced = _pass_over(path, mark, by_order=False, each=each)
    if unplaced:
        index, _ = _pass_over(path, mark, by_order=True, each=each)
    if not len(index):
        raise BadItem(str(path), f"no frame can be decoded ({index.errors} broken packets)")
    return index


def _pass_over(path: Path | str, mark: tuple[str, int, int], by_order: bool, each: Each | None) -> tuple[VideoIndex, int]:
    """The index as found in one pass, and how many frames had no usable time."""
    container, stream = open_video(path)
    seen, shrink = Survey(), VideoReformatter()
    pts: list[int] = []
    sketches: list[NDArray[np.uint8]] = []
    rotation, size = 0, (0, 0)
    with container:
        time_base = 1 / Fraction(stream.average_rate or 30) if by_order else Fraction(stream.time_base or 1)
        kind = container.format.name
        sweep = Sweep(container, stream, by_order)
        for time, frame in sweep:
            if not pts:
                rotation, size = upright_size(frame)
            pts.append(time)
            small = grey(frame, shrink)
            seen.add(small)
            sketches.append(sketch_of(small))
            if each is not None:
                each(len(pts) - 1, frame)
    found = seen.findings()
    index = VideoIndex(
        pts=np.array(pts, np.int64),
        time_base=time_base,
        keyframes=np.unique(np.array([] if by_order else sweep.keyframes, np.int64)),
        rotation=rotation,
        size=size,
        motion=found.motion,
        shots=found.shots,
        content=upright(found.content, rotation),
        sketch=np.array(sketches, np.uint8).reshape(-1, *SKETCH_SIZE),
        open_gop=sweep.open_gop,
        errors=sweep.errors,
        by_order=by_order,
        container=kind,
        fingerprint=mark,
    )
    return index, sweep.unplaced


def greys(path: Path | str, index: VideoIndex) -> Iterator[NDArray[np.uint8]]:
    """Every frame of an index in grey levels [90, 160], in order; decodes the whole file again.

    Raises:
        BadItem: it no longer holds these frames.
    """
    container, stream = open_video(path)
    shrink, number = VideoReformatter(), 0
    with container:
        for time, frame in Sweep(container, stream, index.by_order):
            if number == len(index) or time != index.pts[number]:
                break
            yield grey(frame, shrink)
            number += 1
        else:
            if number == len(index):
                return
    raise BadItem(str(path), f"frame {number} is not as it was when the file was indexed")


def upright_size(frame: VideoFrame) -> tuple[int, tuple[int, int]]:
    """Quarter turns counter-clockwise that a frame needs, and its height and width after them."""
    turns = round(frame.rotation / 90) % 4
    size = (frame.height, frame.width)
    return turns, size if turns % 2 == 0 else (size[1], size[0])


_in_memory: OrderedDict[tuple[str, int, int], VideoIndex | str] = OrderedDict()


def index_of(path: Path | str) -> VideoIndex:
    """The index of a file: from memory, from the cache of earlier runs, or from a scan; anew when the file has changed.

    Raises:
        BadItem: nothing in it can be shown. That verdict is remembered too, so a broken file is looked into only once.
    """
    mark = fingerprint(path)
    found = _in_memory.get(mark)
    if found is None:
        found = _recall(mark) or _scan_and_keep(path, mark)
        _in_memory[mark] = found
        _forget_old()
    if isinstance(found, str):
        raise BadItem(str(path), found)
    return found


def index_anew(path: Path | str, each: Each) -> VideoIndex:
    """Index a file, known or not, and give every frame to ``each`` on the way; `index_of` knows the result from then on.

    Raises:
        BadItem: nothing in it can be shown.
    """
    mark = fingerprint(path)
    found = _in_memory[mark] = _scan_and_keep(path, mark, each)
    _forget_old()
    if isinstance(found, str):
        raise BadItem(str(path), found)
    return found


def remembered(path: Path | str) -> VideoIndex | None:
    """What an earlier pass left in the cache folder about a file as it is now; None when there is nothing.

    Raises:
        BadItem: the pass found that nothing in it can be shown.
    """
    found = _recall(fingerprint(path))
    if isinstance(found, str):
        raise BadItem(str(path), found)
    return found


def _forget_old() -> None:
    while len(_in_memory) > IN_MEMORY:
        _in_memory.popitem(last=False)


def _scan_and_keep(path: Path | str, mark: tuple[str, int, int], each: Each | None = None) -> VideoIndex | str:
    try:
        index = scan(path, each)
    except BadItem as error:
        if error.reason.startswith(
            "cannot be"
        ):  # no rights, no file handles left, a disk that failed: may be mended without the file changing
            raise
        array_cache.keep({"reason": np.array(error.reason)}, "video index", *VERSIONS, *mark)
        return error.reason
    if index.fingerprint == mark:
        array_cache.keep(_to_arrays(index), "video index", *VERSIONS, *mark)
    return index


def _recall(mark: tuple[str, int, int]) -> VideoIndex | str | None:
    arrays = array_cache.recall("video index", *VERSIONS, *mark)
    if arrays is None:
        return None
    try:
        return str(arrays["reason"]) if "reason" in arrays else _from_arrays(arrays, mark)
    except (KeyError, ValueError, TypeError, IndexError):
        return None


def _to_arrays(index: VideoIndex) -> array_cache.Arrays:
    base = index.time_base
    numbers = [
        base.numerator,
        base.denominator,
        index.rotation,
        *index.size,
        int(index.open_gop),
        index.errors,
        int(index.by_order),
    ]
    return {
        "pts": index.pts,
        "keyframes": index.keyframes,
        "motion": index.motion,
        "shots": index.shots,
        "content": np.array(index.content, np.float64),
        "sketch": index.sketch,
        "numbers": np.array(numbers, np.int64),
        "container": np.array(index.container),
    }


def _from_arrays(arrays: array_cache.Arrays, mark: tuple[str, int, int]) -> VideoIndex:
    above, below, rotation, height, width, open_gop, errors, by_order = (int(number) for number in arrays["numbers"])
    top, left, height_share, width_share = arrays["content"]
    if not 0 < len(arrays["pts"]) == len(arrays["motion"]) == len(arrays["shots"]) == len(arrays["sketch"]):
        raise ValueError("entry is not whole")
    return VideoIndex(
        pts=arrays["pts"].astype(np.int64),
        time_base=Fraction(above, below),
        keyframes=arrays["keyframes"].astype(np.int64),
        rotation=rotation,
        size=(height, width),
        motion=arrays["motion"].astype(np.float32),
        shots=arrays["shots"].astype(np.int64),
        content=(float(top), float(left), float(height_share), float(width_share)),
        sketch=arrays["sketch"].astype(np.uint8),
        open_gop=bool(open_gop),
        errors=errors,
        by_order=bool(by_order),
        container=str(arrays["container"]),
        fingerprint=mark,
    )
