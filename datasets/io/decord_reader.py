"""decord, where it keeps the contract: constant checks refuse the files on which it is known to return neighbours.

Each call opens and drops its reader: one kept open grows by hundreds of megabytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.io import pictures
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.video_index import VideoIndex
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem, UserError

AT_ONCE = 8  # frames decoded before they are scaled down: of a large video they take much memory


class DecordBackend:
    """Reads files of the common kind."""

    def check(self) -> None:
        _decord()

    def decode(self, path: str, index: VideoIndex, wanted: Sequence[int], short_side: int | None) -> Iterator[Pixels]:
        whys = {
            "open groups of pictures": index.open_gop,
            "damage": index.errors > 0,
            "no times": index.by_order,
            "MPEG-TS": "mpegts" in index.container,
        }
        for why, holds in whys.items():
            if holds:
                raise BadItem(path, f"decord returns neighbouring frames on files with {why}; decode it with pyav")
        decord = _decord()
        decord.logging.set_level(decord.logging.FATAL)
        size = fitted(index.size, short_side)
        try:
            reader = decord.VideoReader(os.path.abspath(path), ctx=decord.cpu(0), num_threads=1)
            times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
            _check_times(path, index, times)
            for first in range(0, len(wanted), AT_ONCE):
                for frame in reader.get_batch(list(wanted[first : first + AT_ONCE])).asnumpy():
                    if frame.shape[:2] != index.size:
                        what = f"decord gives {frame.shape[:2]} pixels where {index.size} were indexed"
                        raise BadItem(path, f"{what}; decode it with pyav")
                    yield pictures.crop_and_resize(frame, (0, 0, *index.size), size)
        except (RuntimeError, UnicodeError, decord.DECORDError) as error:
            raise BadItem(path, f"decord cannot decode it ({_why(error)}); decode it with pyav") from None


def _check_times(path: str, index: VideoIndex, times: NDArray[np.float64]) -> None:
    """Refuse a file of which decord counts or times the frames otherwise than the index does."""
    if len(times) != len(index):
        raise BadItem(path, f"decord counts {len(times)} frames where {len(index)} can be shown; decode it with pyav")
    apart = np.abs((times - times[0]) - (index.seconds - index.seconds[0]))
    if apart.max() > index.least_gap / 4:
        raise BadItem(path, "decord gives other times than the index; decode it with pyav")


def _why(error: Exception) -> str:
    """Decord's own words, less the place in its source and the values of its variables."""
    return re.sub(r".*(ERROR|Check failed:) ", "", str(error).splitlines()[0])[:120]


def _decord() -> Any:
    try:
        import decord
    except ImportError:
        raise UserError("decoder 'decord' is not installed; pip install decord, or set --set data.decoder=pyav") from None
    return decord
