"""Pictures that carry a number in plain sight, so that a test or an example can see which frame it was given.

The upper third is a strip of 16 black or white blocks, the number's bits; below, a bright bar goes across once and back.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

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
) -> None:
    """Write frames uint8 RGB [h, w, 3] as a video; ``times`` are in 1/rate seconds and default to 0, 1, 2, ..."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.pix_fmt = "yuv420p"
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
