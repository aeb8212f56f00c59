"""torchcodec, held to the index: each frame must bear the time the index gives it, else the file is refused.

Only its exact seek mode is used: the approximate one returns neighbours on variable frame rates and open groups of
pictures. It is optional: its package is installed apart, and it needs FFmpeg's libraries from the system.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np

from embodied_ssl.datasets.io import pictures
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.open_readers import OpenReaders
from embodied_ssl.datasets.io.video_index import VideoIndex
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem, UserError

AT_ONCE = 8  # frames decoded before they are scaled down: of a large video they take much memory


class Reader:
    """One open file, of which torchcodec counts as many frames as the index."""

    def __init__(self, path: str, index: VideoIndex) -> None:
        self.path = path
        self.index = index
        unfit = {
            "is known to mix frames up in damaged files": index.errors > 0,
            "needs times, and the file keeps none": index.by_order,
            "returns neighbouring frames on MPEG program streams": index.container == "mpeg",
            "returns neighbouring frames on MPEG-TS": index.container == "mpegts",
        }
        for why, holds in unfit.items():
            if holds:
                raise self._refusal(why)
        try:
            path.encode()  # fails for a name that is no text, which torchcodec would complain of less clearly
            self.decoder: Any = _torchcodec().VideoDecoder(
                os.path.abspath(path), seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC"
            )
        except (RuntimeError, ValueError) as error:
            raise self._refusal(f"cannot open it ({_why(error)})") from None
        if len(self.decoder) != len(index):
            raise self._refusal(f"counts {len(self.decoder)} frames where {len(index)} can be shown")

    def _refusal(self, why: str) -> BadItem:
        return BadItem(self.path, f"torchcodec {why}; decode it with pyav")

    def frames(self, numbers: Sequence[int]) -> Pixels:
        """These frames (rising), uint8 RGB [n, *index.size, 3].

        Raises:
            BadItem: they cannot be decoded, or are not those of the index.
        """
        try:
            batch = self.decoder.get_frames_at(list(numbers))
        except (RuntimeError, IndexError) as error:
            raise self._refusal(f"cannot decode it ({_why(error)})") from None
        apart = np.abs(batch.pts_seconds.numpy() - self.index.seconds[list(numbers)])
        if apart.max() > self.index.least_gap / 4:
            raise self._refusal("gives other times than the index")
        pixels: Pixels = batch.data.numpy()
        size = pixels.shape[1:3]
        if size != self.index.size:
            raise self._refusal(f"gives {size} pixels where {self.index.size} were indexed")
        return pixels

    def close(self) -> None:
        self.decoder = None  # its last reference: that closes the file


class TorchcodecBackend(threading.local):
    """Reads files of the common kind. Threads share nothing."""

    def __init__(self) -> None:
        self.open = OpenReaders(Reader)

    def check(self) -> None:
        _torchcodec()

    def decode(self, path: str, index: VideoIndex, wanted: Sequence[int], short_side: int | None) -> Iterator[Pixels]:
        reader = self.open.of(path, index)
        size = fitted(index.size, short_side)
        try:
            for first in range(0, len(wanted), AT_ONCE):
                for frame in reader.frames(wanted[first : first + AT_ONCE]):
                    yield pictures.crop_and_resize(frame, (0, 0, *index.size), size)
        except BadItem:
            self.open.drop(index)
            raise


def _why(error: Exception) -> str:
    """What torchcodec says, less the place in its source."""
    return re.sub(r".*\.cpp:\d+, ", "", str(error).splitlines()[0])[:120]


@cache
def _torchcodec() -> Any:
    """Its module of decoders.

    Raises:
        UserError: it is not installed, or finds no FFmpeg.
    """
    otherwise = "or set --set data.decoder=pyav"
    try:
        from torchcodec import decoders

        decoders.VideoDecoder(b"not a video")
    except ImportError:
        raise UserError(f"decoder 'torchcodec' is not installed; pip install torchcodec, {otherwise}") from None
    except (RuntimeError, OSError) as error:  # that the bytes are no video is what a decoder that works says
        if "Could not load" in str(error):
            mend = "apt-get install ffmpeg, or a release of torchcodec that fits this torch"
            raise UserError(f"decoder 'torchcodec' cannot load FFmpeg's libraries; {mend}, {otherwise}") from None
    return decoders
