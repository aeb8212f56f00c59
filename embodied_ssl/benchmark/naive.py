"""The loops people write: decord and torchcodec as their documentation shows them, and as someone who tunes them would.

Every function opens a video and returns what reads it: rising frame numbers int64 [n] to uint8 RGB [n, 128, w, 3].
What a loop does anew for every sample (opening, mostly) is done inside what is returned, so that it is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.benchmark.jobs import SHORT_SIDE
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.source import Pixels

Read = Callable[[NDArray[np.int64]], Pixels]


def naive_decord(path: str) -> Read:
    """A new reader for every sample, its default number of threads, whole frames, resized by torch."""
    import decord
    import torch

    def read(numbers: NDArray[np.int64]) -> Pixels:
        reader = decord.VideoReader(path)
        frames = torch.from_numpy(reader.get_batch(numbers.tolist()).asnumpy())
        return _resized(frames.permute(0, 3, 1, 2))

    return read


def naive_torchcodec(path: str) -> Read:
    """A new decoder for every sample, exact as by default, whole frames, resized by torch."""
    from torchcodec.decoders import VideoDecoder

    def read(numbers: NDArray[np.int64]) -> Pixels:
        return _resized(VideoDecoder(path).get_frames_at(numbers.tolist()).data)

    return read


def tuned_decord(path: str) -> Read:
    """One reader kept open, one thread, and decord itself makes the frames small."""
    import decord

    height, width = fitted(decord.VideoReader(path)[0].shape[:2], SHORT_SIDE)
    reader = decord.VideoReader(path, width=width, height=height, num_threads=1)

    def read(numbers: NDArray[np.int64]) -> Pixels:
        frames: Pixels = reader.get_batch(numbers.tolist()).asnumpy()
        return frames

    return read


def tuned_torchcodec(path: str) -> Read:
    """One decoder kept open, torchcodec itself makes the frames small, and seeking trusts the frame rate.

    ``approximate`` saves the scan on opening and returns wrong frames from files of variable frame rate or with open
    groups of pictures; the made videos have neither.
    """
    from torchcodec.decoders import VideoDecoder
    from torchcodec.transforms import Resize

    metadata = VideoDecoder(path, seek_mode="approximate").metadata
    size = fitted((metadata.height, metadata.width), SHORT_SIDE)
    decoder = VideoDecoder(path, seek_mode="approximate", transforms=[Resize(size)])

    def read(numbers: NDArray[np.int64]) -> Pixels:
        frames: Pixels = decoder.get_frames_at(numbers.tolist()).data.permute(0, 2, 3, 1).numpy()
        return frames

    return read


def _resized(frames: Any) -> Pixels:
    """Whole frames uint8 [n, 3, H, W] with the shorter side made 128 pixels, as uint8 [n, 128, w, 3]."""
    from torch.nn.functional import interpolate

    size = fitted(tuple(frames.shape[2:]), SHORT_SIDE)
    small: Pixels = interpolate(frames, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()
    return small
