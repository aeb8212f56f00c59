"""Where one shot ends and the next begins.

A cut is a frame that differs from the one before far more than its neighbours do from theirs, and in which nothing of the
scene before can be found again. The second question is asked of few frames, so it may be put thoroughly: light may
have changed, the camera may have turned, and after a flash the scene may be back.

A cut wrongly seen does more harm than one missed: it would forbid the fastest movements, which are those worth learning from,
while a cut that is missed spoils only the few samples across it. So in doubt there is none. Fades and dissolves, and cuts
between two views of one scene, are often missed.
"""

from __future__ import annotations

from collections import deque
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io.borders import Borders, in_pixels

Grey = NDArray[np.uint8]

BACK, AHEAD = 5, 6  # how many pictures before and after a frame are kept to judge it by
LEAST = 12.0  # mean difference in grey levels below which nothing is a cut
STANDS_OUT = 1.8  # times what is usual around it
HELD = 0.5  # a frame that differs by less repeats the one before: videos that stutter jump without being cut
AROUND, WITHIN = 6, 60  # what is usual: the last 6 frames that were not held, at most 60 frames ago, and the next 6
FLASH = (0, 2, 4)  # frames to look past on either side, for the scene may return after a flash
FOLLOWED = 0.7  # correlation with the picture before, moved along the flow, from which the scene is the same
FOUND = 0.78  # correlation of pieces with their best places in the picture before, from which it is the same too
SMALL, PIECE = (45, 80), (15, 20)  # height and width of pictures and pieces in that search
FEWEST = 3  # pieces that a picture must have to be recognised at all
PLAIN = 4.0  # spread of grey levels below which a piece shows nothing to be found again


class Cuts:
    """Is shown a video's frames one after another; ``first`` lists those that begin a new shot, once it is closed.

    Args:
        borders: has been shown the same frames. Borders stay when the scene changes, so they are not looked at.
    """

    def __init__(self, borders: Borders) -> None:
        self.first: list[int] = []
        self._borders = borders  # those of the same video, as far as they are known
        self._changes: list[float] = []
        self._pictures: deque[Grey | None] = deque(maxlen=BACK + 1 + AHEAD)

    def add(self, picture: Grey | None, change: float) -> None:
        """The next frame in grey levels [h, w], None if it cannot be seen, and its mean difference to the one before."""
        self._changes.append(change)
        self._pictures.append(picture)
        self._judge(len(self._changes) - 1 - AHEAD)

    def close(self) -> None:
        """No more frames come: judge those that others were still awaited for."""
        for number in range(len(self._changes) - AHEAD, len(self._changes)):
            self._judge(number)

    def _judge(self, number: int) -> None:
        if number >= 1 and self._stands_out(number) and not self._scene_goes_on(number):
            self.first.append(number)

    def _stands_out(self, number: int) -> bool:
        change = self._changes[number]
        if change < LEAST:
            return False
        before = [one for one in self._changes[max(1, number - WITHIN) : number] if one > HELD][-AROUND:]
        after = [one for one in self._changes[number + 1 : number + 1 + AROUND] if one > HELD]
        usual = median(before + after) if before or after else 0.0  # Python's: of a dozen numbers NumPy's takes 0.1 ms
        return change >= STANDS_OUT * (usual + 1)

    def _scene_goes_on(self, number: int) -> bool:
        """Whether what was seen before this frame is seen again at or soon after it, or nothing that could be."""
        pairs = [(number - 1 - gap, number) for gap in FLASH] + [(number - 1, number + gap) for gap in FLASH[1:]]
        held = {number: self._picture(number) for pair in pairs for number in pair}
        seen = {number: self._inside(picture) for number, picture in held.items() if picture is not None}
        telling = {number for number, picture in seen.items() if len(_pieces(_small(picture))) >= FEWEST}
        both = [pair for pair in pairs if telling.issuperset(pair)]
        return not both or any(same_scene(seen[earlier], seen[later]) for earlier, later in both)

    def _picture(self, number: int) -> Grey | None:
        place = number - (len(self._changes) - len(self._pictures))
        return self._pictures[place] if 0 <= place < len(self._pictures) else None

    def _inside(self, picture: Grey) -> Grey:
        top, left, height, width = in_pixels(self._borders.content(), picture.shape)
        return np.ascontiguousarray(picture[top : top + height, left : left + width])  # or OpenCV finds no flow in it


def same_scene(one: Grey, other: Grey) -> bool:
    """Whether two grey pictures [h, w] show the same scene: one can be moved onto the other, or its pieces are found there."""
    if _followed(one, other) >= FOLLOWED:
        return True
    a, b = _small(one), _small(other)
    return max(_found(a, b), _found(b, a)) >= FOUND


def _followed(one: Grey, other: Grey) -> float:
    """Correlation of the second picture with the first moved along the optical flow; brightness and contrast may differ."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow = search.calc(other, one, None)  # type: ignore[call-overload]
    height, width = other.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(one, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    soft = [cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 2) for picture in (moved, other)]
    a, b = (picture - picture.mean() for picture in soft)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1))


def _found(one: Grey, other: Grey) -> float:
    """Median correlation of the second picture's pieces with the places in the first, anywhere, that they fit best."""
    return float(np.median([cv2.matchTemplate(one, piece, cv2.TM_CCOEFF_NORMED).max() for piece in _pieces(other)]))


def _pieces(picture: Grey) -> list[Grey]:
    """A picture of the size `SMALL` in pieces, less those that show nothing."""
    height, width = PIECE
    places = [(y, x) for y in range(0, SMALL[0], height) for x in range(0, SMALL[1], width)]
    pieces = [picture[y : y + height, x : x + width] for y, x in places]
    return [piece for piece in pieces if piece.std() >= PLAIN]


def _small(picture: Grey) -> Grey:
    return np.asarray(cv2.resize(picture, SMALL[::-1], interpolation=cv2.INTER_AREA), np.uint8)
