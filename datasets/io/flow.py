"""How fast what is seen moves: the mean length of optical flow, which is what Misra et al. weigh frames by.

The mean difference in grey levels that an index holds is a cheap stand-in for it: it also rises with contrast and with
changing light. Flow costs another pass over the video at 1 to 3 ms a frame, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import array_cache
from embodied_ssl.datasets.io.opencv import one_thread
from embodied_ssl.errors import UserError, suggest

VERSION = 1  # of what is found; raise it when the same video would be given other values
MotionKind = Literal["difference", "dis", "farneback"]


def check_kind(kind: str) -> None:
    """Refuse a kind of motion that there is none of.

    Raises:
        UserError: neither ``difference`` nor a way to find flow.
    """
    if kind not in get_args(MotionKind):
        raise UserError(
            f"there is no motion '{kind}'{suggest(kind, get_args(MotionKind))}; set it with --set data.motion=difference"
        )


def mean_flow(
    pictures: Iterable[NDArray[np.uint8] | None], shots: NDArray[np.int64], kind: Literal["dis", "farneback"]
) -> NDArray[np.float32]:
    """Mean length of the optical flow from the frame before to each frame.

    Args:
        pictures: grey levels [h, w] of every frame in order, None for one that cannot be seen.
        shots: which shot each is of, int64 [n].
        kind: dense inverse search (Kroeger et al. 2016) or polynomial expansion (Farnebäck 2003), both OpenCV's.

    Returns:
        Pixels of these pictures per frame, float32 [n]; 0 for the first frame of every shot and beside frames not seen.
    """
    speeds = np.zeros(len(shots), np.float32)
    flow = _dis() if kind == "dis" else _farneback
    before: NDArray[np.uint8] | None = None
    with one_thread():
        for number, picture in zip(range(len(shots)), pictures, strict=True):
            if number and picture is not None and before is not None and shots[number] == shots[number - 1]:
                speeds[number] = np.linalg.norm(flow(before, picture), axis=-1).mean()
            before = picture
    return speeds


def kept_flow(
    kind: MotionKind,
    pictures: Callable[[], Iterable[NDArray[np.uint8] | None]],
    shots: NDArray[np.int64],
    *key: int | str,
) -> NDArray[np.float32]:
    """`mean_flow`, found when first asked for and remembered under a key that says which video it is.

    Args:
        kind: which flow; not ``difference``.
        pictures: begins a pass over the video.
        shots: which shot each frame is of, int64 [n].
        key: of the video and the state that it is in.
    """
    if kind == "difference":
        raise ValueError("the difference to the frame before is no flow")
    key = ("flow", VERSION, kind, *key)
    kept = array_cache.recall(*key)
    if kept is not None and len(kept.get("speeds", ())) == len(shots):
        return kept["speeds"]
    speeds = mean_flow(pictures(), shots, kind)
    array_cache.keep({"speeds": speeds}, *key)
    return speeds


def _dis() -> Callable[[Any, Any], Any]:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return lambda before, now: search.calc(before, now, None)  # type: ignore[call-overload]


def _farneback(before: Any, now: Any) -> Any:
    room = np.empty((*now.shape, 2), np.float32)
    return cv2.calcOpticalFlowFarneback(before, now, room, 0.5, 3, 15, 3, 5, 1.2, 0)  # the values of OpenCV's own example
