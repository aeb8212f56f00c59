"""What a video file says about itself, without decoding: good for estimates, not to be believed for anything else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from embodied_ssl.datasets.io.video_stream import open_video

USUAL_RATE = 30.0  # where a file names none, or an impossible one


@dataclass(frozen=True)
class VideoHeader:
    """Claims of a file.

    Attributes:
        seconds: how long it is; 0 where it does not say.
        fps: frames a second.
        size: height and width as stored, not turned upright.
    """

    seconds: float
    fps: float
    size: tuple[int, int]


def header_of(path: Path | str) -> VideoHeader:
    """Read the header of a file.

    Raises:
        BadItem: it is no video.
    """
    container, stream = open_video(path)
    with container:
        fps = float(stream.average_rate or USUAL_RATE)
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        return VideoHeader(max(0.0, seconds), fps if 0 < fps <= 1000 else USUAL_RATE, (stream.height, stream.width))
