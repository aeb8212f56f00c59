"""Pictures and films made up on the spot, in which a test or an example can see what it was given.

A numbered picture shows its number: the upper third is 16 black or white blocks, its bits; below, a bar goes to and fro.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels

BITS = 16


def numbered(number: int, size: tuple[int, int] = (48, 64), period: int = 64) -> Pixels:
    """A picture uint8 RGB [*size, 3] that shows ``number`` (below 65536); its bar stands where ``number`` says."""
    height, width = size
    picture = np.full((height, width, 3), 60, np.uint8)
    bits = [(number >> bit) & 1 for bit in range(BITS)]
    picture[: height // 3] = np.repeat(np.array(bits, np.uint8) * 255, width // BITS)[None, :width, None]
    phase = number % period / period
    left = int((1 - abs(2 * phase - 1)) * (width - width // 8))
    picture[height // 3 :, left : left + width // 8] = (230, 180, 60)
    return picture


def number_shown(picture: Pixels) -> int:
    """The number a picture shows, also after scaling and lossy coding."""
    height, width = picture.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    bits = picture[height // 6, centres].mean(axis=-1) > 127
    return int((bits * (1 << np.arange(BITS))).sum())


def write_video(
    path: Path | str,
    frames: Iterable[Pixels],
    codec: str = "mpeg4",
    rate: int = 30,
    options: dict[str, str] | None = None,
    times: Iterable[int] | None = None,
    colours: str = "yuv420p",
    muxer: dict[str, str] | None = None,
) -> None:
    """Write frames uint8 RGB [h, w, 3] as a video.

    Args:
        path: the file; its ending chooses the container.
        frames: all of one size.
        codec: FFmpeg's name of an encoder.
        rate: frames a second.
        options: of the encoder.
        times: when each is shown, in 1/rate seconds; 0, 1, 2, ... by default.
        colours: FFmpeg's name of how pixels are stored.
        muxer: options of the container.
    """
    with av.open(str(path), "w", options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = colours
        stream.codec_context.thread_count = 1
        clock = iter(times) if times is not None else None
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
                if codec in ("mpeg4", "mpeg2video"):
                    stream.codec_context.qmax = 4
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts = number if clock is None else next(clock)
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def driven(distance: float, heading: float, size: tuple[int, int] = (48, 64)) -> Pixels:
    """What a camera sees after driving ``distance`` metres, looking ``heading`` radians to the left: uint8 RGB [*size, 3].

    A soft texture all around: turning left moves it to the right in the picture, driving forward makes it grow.
    """
    height, width = size
    zoom = np.exp(distance / 40)
    focal = width / 2  # 90 degrees across
    columns = np.arctan((np.arange(width) - (width - 1) / 2) / focal / zoom) - heading
    rows = (np.arange(height) - (height - 1) / 2) / focal / zoom
    x, y = np.meshgrid(columns, rows)
    waves = [
        np.sin(7 * x + 1) + np.sin(13 * x + 5 * y),
        np.sin(5 * x + 9 * y + 2) + np.cos(11 * x),
        np.cos(17 * x - 4 * y) + np.sin(3 * x),
    ]
    picture: Pixels = np.clip(np.stack(waves, -1) * 55 + 128, 0, 255).astype(np.uint8)
    return picture


def tour(steps: int, first: int, forward: float = 0.5, turn: float = 0.03) -> NDArray[np.float64]:
    """Steps (forward in metres, left yaw in radians) [steps, 2] that turn left, go straight and turn right for a third each.

    Args:
        steps: how many.
        first: 0, 1 or 2: which of the three comes first.
        forward: how far each step goes.
        turn: how sharply.
    """
    thirds = (np.arange(steps) * 3 // max(steps, 1) + first) % 3
    yaw = np.choose(thirds, [turn, 0.0, -turn])
    return np.stack([np.full(steps, forward), yaw], -1)
