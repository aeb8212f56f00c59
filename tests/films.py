"""Films of every kind, each frame with its number drawn in, and what each decoder makes of them.

``python tests/films.py`` prints the table as Markdown; ``tests/datasets/test_video_accuracy.py`` holds every cell of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest

from embodied_ssl.datasets.io.numbered import number_shown, numbered, write_video
from embodied_ssl.datasets.source import Frames, Pixels

COUNT = 120
SIZE = (96, 128)
X265 = "log-level=none:pools=1:keyint=24:min-keyint=24:scenecut=0:open-gop="
OPEN_GOP = {"x264-params": "open-gop=1:bframes=3:keyint=24:min-keyint=24:scenecut=0"}
B_FRAMES = {"bf": "3", "g": "30"}
P_FRAMES = {"bf": "0", "g": "30"}
READERS = ("pyav", "decord", "torchcodec")

# Why a reader refuses a kind; "" where it is exact.
EXACT = ""
COUNTS = "counts"
TIMES = "gives other times"
CANNOT = "cannot (open|decode) it"
OPEN = "open groups of pictures"
NO_TIMES = "times"
TS = "MPEG-TS"
PS = "MPEG program streams"


@dataclass(frozen=True)
class Kind:
    """How a film is made, which numbers it shows, and why decoders refuse it, if they do."""

    what: str
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    times: Sequence[int] | None = None
    colours: str = "yuv420p"
    muxer: dict[str, str] = field(default_factory=dict)
    picture: Callable[[int], Pixels] = lambda number: numbered(number, SIZE)
    after: Callable[[Path], None] | None = None  # what is done to the file once it is written
    shown: range = range(COUNT)
    pyav: str = EXACT
    decord: str = EXACT
    torchcodec: str = EXACT


def remux(source: Path, target: Path, options: dict[str, str] | None = None, shift: int = 0) -> Path:
    """Copy the packets of a video into another file, each ``shift`` units of time later."""
    with av.open(str(source)) as before, av.open(str(target), "w", options=options or {}) as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream)
        for packet in before.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.pts += shift
                packet.dts += shift
                packet.stream = copy
                after.mux(packet)
    return target


def _hide_half_a_second(path: Path) -> None:
    # Packets before time 0 make the muxer write an edit list: players do not show those frames.
    remux(path, path.with_suffix(".cut.mp4"), shift=-15 * 512).replace(path)


def turn(path: Path) -> None:
    """Rewrite the display matrix of the track header to a clockwise quarter turn: (0 1; -1 0) in 16.16 fixed point."""
    data = path.read_bytes()
    level = b"".join(number.to_bytes(4, "big") for number in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    turned = b"".join(number.to_bytes(4, "big") for number in (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000))
    place = data.index(level, data.index(b"tkhd"))
    path.write_bytes(data[:place] + turned + data[place + len(level) :])


def _odd(number: int) -> Pixels:
    return np.pad(numbered(number, (97, 128)), ((0, 0), (0, 3), (0, 0)), mode="edge")


def _left(number: int) -> Pixels:
    return np.rot90(numbered(number, SIZE))


KINDS: dict[str, Kind] = {
    "plain.mp4": Kind("H.264 without B-frames", options=P_FRAMES),
    "b_frames.mp4": Kind("H.264 with B-frames", options=B_FRAMES),
    "gop_250.mp4": Kind("one keyframe only", options={"bf": "3", "g": "250"}),
    "gop_2.mp4": Kind("a keyframe every other frame", options={"bf": "3", "g": "2", "sc_threshold": "0"}),
    "open_gop.mp4": Kind("H.264, open GOP", options=OPEN_GOP, decord=OPEN),
    "intra_refresh.mp4": Kind(
        "H.264 refreshed by columns", options={"x264-params": "intra-refresh=1:keyint=30"}, decord=OPEN, torchcodec=TIMES
    ),
    "interlaced.mp4": Kind("H.264, interlaced", options=B_FRAMES | {"flags": "+ildct+ilme"}),
    "late.mp4": Kind("begins at 2 s", options=B_FRAMES, times=range(60, 60 + COUNT)),
    "variable.mp4": Kind("variable frame rate", options=B_FRAMES, times=np.cumsum(1 + np.arange(COUNT) % 5).tolist()),
    "edit_list.mp4": Kind(
        "edit list hides 15 frames", options=B_FRAMES, after=_hide_half_a_second, shown=range(15, COUNT), decord=COUNTS
    ),
    "turned.mp4": Kind("to be shown turned by 90 degrees", options=P_FRAMES, picture=_left, after=turn),
    "fragments.mp4": Kind("fragmented MP4", options=B_FRAMES, muxer={"movflags": "frag_keyframe+empty_moov"}),
    "one.mp4": Kind("one frame", options=B_FRAMES, shown=range(1)),
    "two.mp4": Kind("two frames", options=B_FRAMES, shown=range(2)),
    "odd.mp4": Kind("97 x 131 pixels", codec="mpeg4", options={"g": "12"}, picture=_odd),
    "ten_bit.mp4": Kind("H.264, 10 bits", options=B_FRAMES, colours="yuv420p10le"),
    "colour_422.mp4": Kind("H.264, 4:2:2", options=B_FRAMES, colours="yuv422p"),
    "colour_444.mp4": Kind("H.264, 4:4:4", options=B_FRAMES, colours="yuv444p"),
    "full_range.mp4": Kind("H.264, full range", options=B_FRAMES, colours="yuvj420p"),
    "hevc.mp4": Kind("HEVC", "libx265", {"x265-params": X265 + "0"}),
    "hevc_open.mp4": Kind("HEVC, open GOP", "libx265", {"x265-params": X265 + "1"}, decord=OPEN),
    "hevc_ten_bit.mp4": Kind("HEVC, 10 bits", "libx265", {"x265-params": X265 + "0"}, colours="yuv420p10le"),
    "av1.mp4": Kind("AV1", "libsvtav1", {"preset": "12", "g": "30"}, decord=CANNOT),
    "vp8.webm": Kind("VP8", "libvpx", {"g": "30", "deadline": "realtime", "cpu-used": "8"}),
    "vp9.webm": Kind("VP9", "libvpx-vp9", {"g": "30", "deadline": "realtime", "cpu-used": "8"}),
    "mpeg4.avi": Kind("MPEG-4 in AVI", "mpeg4", {"g": "12"}),
    "mpeg4_b.avi": Kind("MPEG-4 with B-frames in AVI", "mpeg4", {"g": "12", "bf": "2"}, decord=OPEN, torchcodec=CANNOT),
    "h264.avi": Kind("H.264 in AVI, which keeps no times", options=B_FRAMES, decord=NO_TIMES, torchcodec=NO_TIMES),
    "mjpeg.avi": Kind("Motion JPEG in AVI", "mjpeg", colours="yuvj420p"),
    "h264.mkv": Kind("H.264 in Matroska", options=B_FRAMES),
    "h264.mov": Kind("H.264 in QuickTime", options=B_FRAMES),
    "h264.ts": Kind("H.264 in MPEG-TS", options=B_FRAMES, decord=TS, torchcodec=TS),
    "open_gop.ts": Kind("H.264, open GOP, in MPEG-TS", options=OPEN_GOP, decord=OPEN, torchcodec=TS),
    "mpeg2.ts": Kind("MPEG-2 in MPEG-TS", "mpeg2video", {"g": "12", "bf": "2"}, decord=OPEN, torchcodec=TS),
    "mpeg2.mpg": Kind("MPEG-2 program stream", "mpeg2video", {"g": "12", "bf": "2"}, decord=OPEN, torchcodec=PS),
}


def make(folder: Path, name: str) -> Path:
    """The film of this name in a folder, written when it is first asked for; skips the test where its encoder is missing."""
    path, kind = folder / name, KINDS[name]
    if kind.codec not in av.codec.codecs_available:
        pytest.skip(f"no encoder {kind.codec}")
    if not path.exists():
        os.environ.setdefault("SVT_LOG", "0")  # that encoder talks
        count = len(kind.shown) if kind.after is None else COUNT
        frames = (kind.picture(number) for number in range(count))
        with same_priority():
            write_video(path, frames, kind.codec, 30, kind.options, kind.times, kind.colours, kind.muxer)
        if kind.after is not None:
            kind.after(path)
    return path


@contextmanager
def same_priority() -> Iterator[None]:
    """What comes after is scheduled as it was before.

    Found in a run of all tests: where it may, SVT-AV1 gives the thread that calls it real-time priority and leaves it so. Two
    processes started from there, each waiting for the other, then keep everything else off the machine.
    """
    policy, share = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, share)


def shown(frames: Frames, indices: Sequence[int]) -> list[int]:
    """The numbers that these frames of a film show."""
    return [number_shown(picture) for picture in frames.take(indices)]


def table() -> str:
    """What each reader does with each kind, as Markdown."""
    lines = ["| file | what it is | " + " | ".join(READERS) + " |", "|---" * (2 + len(READERS)) + "|"]
    for name, kind in KINDS.items():
        cells = [getattr(kind, reader) for reader in READERS]
        lines.append(f"| {name} | {kind.what} | " + " | ".join(f"refused: {why}" if why else "exact" for why in cells) + " |")
    return "\n".join(lines).replace("(open|decode)", "decode")


if __name__ == "__main__":
    print(table())
