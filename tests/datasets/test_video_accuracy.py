"""Every frame of every kind of film comes back under its own number from every reader, or the reader refuses the film."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import films
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from films import COUNT, KINDS, READERS, make, number_shown, shown

from embodied_ssl.datasets.io import pyav_reader
from embodied_ssl.datasets.io.frame_numbers import fitted
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.pyav_reader import Wanted
from embodied_ssl.datasets.io.video import VideoFrames, backend
from embodied_ssl.datasets.io.video_index import scan
from embodied_ssl.datasets.io.video_stream import Sweep, counts_lengths, is_referred_to_by_none, open_video
from embodied_ssl.datasets.source import Pixels
from embodied_ssl.errors import BadItem, UserError


def opened(folder: Path, name: str, reader: str, short_side: int | None = None) -> VideoFrames:
    try:
        backend(reader)
    except UserError as error:
        pytest.skip(str(error))
    return VideoFrames(make(folder, name), short_side, reader)


def refused(name: str, reader: str) -> str:
    return str(getattr(KINDS[name], reader))


CELLS = [(name, reader) for name in KINDS for reader in READERS]
EXACT_CELLS = [cell for cell in CELLS if not refused(*cell)]
REFUSED_CELLS = [cell for cell in CELLS if refused(*cell)]


def draws(count: int, seed: str) -> list[list[int]]:
    """Frames to ask for: near and far, with repeats, rising and not."""
    draw = random.Random(seed)
    found = [[draw.randrange(count) for _ in range(5)] for _ in range(4)]
    start = draw.randrange(count)
    found += [sorted(one) for one in found]
    return [*found, list(range(start, count, 4)), [start, min(start + 1, count - 1)], [count - 1, 0, count - 1]]


@pytest.mark.parametrize(("name", "reader"), EXACT_CELLS)
def test_frames_are_exact(film_folder: Path, name: str, reader: str) -> None:
    frames = opened(film_folder, name, reader)
    whole = frames.take(range(len(frames)))
    assert [number_shown(picture) for picture in whole] == list(KINDS[name].shown)
    for wanted in draws(len(frames), name):
        # Bytes, not only numbers: a frame decoded without all it refers to would still show its number.
        assert np.array_equal(frames.take(wanted), whole[wanted]), wanted


@pytest.mark.parametrize(("name", "reader"), REFUSED_CELLS)
def test_what_is_refused_has_its_reason_and_no_frame_is_wrong(film_folder: Path, name: str, reader: str) -> None:
    frames = opened(film_folder, name, reader)
    reasons: list[str] = []
    for wanted in [list(range(len(frames))), *draws(len(frames), name)]:
        try:
            assert shown(frames, wanted) == [KINDS[name].shown[number] for number in wanted]
        except BadItem as error:
            reasons.append(error.reason)
    assert reasons, "it is exact: the table is out of date"
    assert any(re.search(refused(name, reader), reason) for reason in reasons), reasons
    assert all(reason.startswith(reader) and reason.endswith("decode it with pyav") for reason in reasons)


@pytest.mark.parametrize(("name", "reader"), [cell for cell in EXACT_CELLS if cell[1] != "pyav"])
def test_readers_agree_on_pixels(film_folder: Path, name: str, reader: str) -> None:
    # Three builds of FFmpeg, one of them from 2018: what they agree on is what the file says, colours and all.
    wanted = [len(KINDS[name].shown) - 1, 0, len(KINDS[name].shown) // 2]
    ours = opened(film_folder, name, "pyav").take(wanted)
    theirs = opened(film_folder, name, reader).take(wanted)
    assert np.abs(ours.astype(int) - theirs).mean() < 1


def test_pyav_reads_every_kind_and_each_has_its_line_in_the_table() -> None:
    assert all(kind.pyav == films.EXACT for kind in KINDS.values())
    lines = films.table().splitlines()
    assert len(lines) == 2 + len(KINDS)
    assert "| open_gop.mp4 | H.264, open GOP | exact | refused: open groups of pictures | exact |" in lines


def test_scaled_frames_keep_their_shape_whatever_the_reader(film_folder: Path) -> None:
    for reader in READERS:
        assert opened(film_folder, "plain.mp4", reader, 48).take([5, 1]).shape == (2, 48, 64, 3)
        assert opened(film_folder, "turned.mp4", reader, 48).take([5]).shape == (1, 48, 64, 3)
        assert shown(opened(film_folder, "odd.mp4", reader, 48), [7, 3]) == [7, 3]


def test_times_are_the_file_s(film_folder: Path) -> None:
    times = np.cumsum(1 + np.arange(COUNT) % 5) / 30
    assert np.allclose(opened(film_folder, "variable.mp4", "pyav").seconds, times, atol=1e-3)
    assert np.allclose(opened(film_folder, "late.mp4", "pyav").seconds, 2 + np.arange(COUNT) / 30, atol=1e-3)
    assert np.all(np.diff(opened(film_folder, "h264.avi", "pyav").seconds) > 0)


# Frames that are only passed by


def decoded_in_full(path: Path) -> Pixels:
    """Every frame of a film, from one pass that decodes all of it."""
    found: list[tuple[int, VideoFrame]] = []
    index = scan(path, lambda number, frame: found.append((number, frame)))
    resize = VideoReformatter()
    return np.stack([pyav_reader.upright(frame, index.rotation, index.size, resize) for _, frame in found[-len(index) :]])


def film_with_movement(path: Path, params: str) -> VideoFrames:
    """A film in which B-frames and P-frames refer to each other in all ways the encoder knows."""

    def frame(number: int) -> Pixels:
        picture = numbered(number)
        picture[16:] = np.roll(noise, (number * 2 % 7, number * 3), axis=(0, 1))
        return picture

    noise = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8).repeat(1, axis=0)
    write_video(path, map(frame, range(90)), "libx264", options={"x264-params": params, "preset": "medium"})
    return VideoFrames(path)


@pytest.mark.parametrize(
    "params",
    [
        "bframes=5:b-adapt=0:b-pyramid=normal:keyint=45:ref=6:weightp=2",
        "bframes=3:b-adapt=2:b-pyramid=strict:keyint=30:open-gop=1",
        "bframes=2:b-adapt=0:b-pyramid=none:keyint=250:cabac=0",
        "bframes=4:b-adapt=0:interlaced=1:keyint=40",
        "bframes=0:keyint=20:slices=4",
    ],
)
def test_passing_frames_by_changes_no_other(tmp_path: Path, params: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = film_with_movement(tmp_path / "film.mp4", params)
    whole = decoded_in_full(tmp_path / "film.mp4")
    assert [number_shown(picture) for picture in whole] == list(range(90))
    draw = random.Random(params)
    for cost in (pyav_reader.WAIT_COST, 1e9):  # as it is, and as in a file so long that decoding ends early every time
        monkeypatch.setattr(pyav_reader, "WAIT_COST", cost)
        for size in (1, 2, 3, 5, 8, 20):
            for _ in range(4):
                wanted = sorted(draw.sample(range(90), size))
                assert np.array_equal(frames.take(wanted), whole[wanted]), wanted


def test_frames_passed_by_are_not_decoded(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[int] = []
    judge = Sweep._is_sound
    monkeypatch.setattr(Sweep, "_is_sound", lambda self, frame, time: (came.append(time), judge(self, frame, time))[1])
    frames = opened(film_folder, "b_frames.mp4", "pyav")
    assert shown(frames, [0, 29]) == [0, 29]
    assert len(came) < 25
    came.clear()
    assert shown(frames, list(range(30, 60))) == list(range(30, 60))  # what follows was not passed by: no seek back
    assert len(came) <= 33


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mp4", "variable.mp4", "ten_bit.mp4", "h264.mkv", "h264.ts"])
def test_packets_kept_from_the_decoder_are_those_it_would_leave_out(film_folder: Path, name: str) -> None:
    container, stream = open_video(opened(film_folder, name, "pyav").path)
    decoder = stream.codec_context
    with container:
        packets = [packet for packet in container.demux(stream) if packet.size]
    alone = {packet.pts for packet in packets if is_referred_to_by_none(packet)}
    decoder.skip_frame = "NONREF"
    came = {frame.pts for packet in [*packets, None] for frame in decoder.decode(packet)}
    left_out = {packet.pts for packet in packets} - came
    assert len(left_out) > 20
    assert alone == (left_out if counts_lengths(decoder.extradata) else set())
    assert counts_lengths(decoder.extradata) == (name != "h264.ts")


# Decoding that ends where nothing more is wanted


def packets_given(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of packets that decoders are given from now on; 0 where one is emptied."""
    given: list[int] = []
    decode = Sweep._decode
    monkeypatch.setattr(Sweep, "_decode", lambda self, packet, time: (given.append(packet.size), decode(self, packet, time))[1])
    return given


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("always", [True, False])
def test_ending_early_changes_no_frame(film_folder: Path, name: str, always: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, whole = opened(film_folder, name, "pyav"), decoded_in_full(film_folder / name)
    assert [number_shown(picture) for picture in whole] == list(KINDS[name].shown)
    assert np.array_equal(frames.take(range(len(frames))), whole)
    monkeypatch.setattr(pyav_reader, "WAIT_COST", 1e9 if always else 0)
    for stride in (1, 2, 3, 4, 7, 11, 24):
        for start in range(0, len(frames), 23):
            wanted = list(range(start, min(start + 16 * stride, len(frames)), stride))
            assert np.array_equal(frames.take(wanted), whole[wanted]), wanted
    for number in range(0, len(frames), 5):  # from one call to the next
        assert np.array_equal(frames.take([number])[0], whole[number]), number


def test_what_follows_the_last_wanted_frame_is_not_decoded(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = opened(film_folder, "plain.mp4", "pyav")  # a keyframe every 30 frames
    assert shown(frames, [2]) == [2]
    given = packets_given(monkeypatch)
    assert shown(frames, [54, 64]) == [54, 64]  # 55 to 59 lie between, for the next keyframe to make needless
    assert sum(size > 0 for size in given) == 25 + 5
    given.clear()
    assert shown(frames, [29, 30, 31]) == [29, 30, 31]
    assert sum(size > 0 for size in given) == 30 + 2


def test_decoder_does_not_wait_for_frames_nobody_wants(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = packets_given(monkeypatch)
    frames = opened(film_folder, "gop_2.mp4", "pyav")
    _ = frames.index
    given.clear()
    assert shown(frames, [50]) == [50]
    assert len(given) == 2
    assert given[-1] == 0


def test_reading_on_frame_by_frame_begins_anew_once_at_most(film_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyav_reader, "WAIT_COST", 1e9)  # as in a file so long that a call's going on is unlikely
    starts: list[int | None] = []
    run = pyav_reader.Reader._run
    monkeypatch.setattr(pyav_reader.Reader, "_run", lambda self, time: (starts.append(time), run(self, time))[1])
    frames = opened(film_folder, "gop_250.mp4", "pyav")
    for number in range(20, 60):
        assert shown(frames, [number]) == [number]
    assert len(starts) <= 3  # the opening, the first frame, the second


def test_decoding_never_ends_before_what_may_be_half_a_frame(film_folder: Path) -> None:
    index = opened(film_folder, "b_frames.mp4", "pyav").index
    wanted = Wanted(index, [3, 31])
    first, second = (int(index.pts[number]) for number in (3, 31))
    assert not wanted.enough(int(index.pts[0]))
    assert not wanted.enough(first)
    assert not wanted.enough(first + 1)  # no frame of the index has this time
    assert wanted.enough(int(index.pts[4]))
    assert not Wanted(index, [3, 31], keyframe=int(index.keyframes[1])).enough(second)


@pytest.mark.parametrize("colours", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p"])
@pytest.mark.parametrize("short_side", [40, 130])
def test_scaling_shifts_no_colour(colours: str, short_side: int) -> None:
    draw, means = np.random.default_rng(0), []
    frame = VideoFrame(128, 96, colours)
    for plane in frame.planes:
        levels = draw.integers(90, 166, (plane.height, plane.line_size), np.uint8)
        plane.update(levels.tobytes())
        means.append(levels[:, : plane.width].mean())
    black, luma, chroma = (0, 1, 1) if "j" in colours else (16, 255 / 219, 255 / 224)
    grey, blue, red = (means[0] - black) * luma, (means[1] - 128) * chroma, (means[2] - 128) * chroma
    expected = [grey + 1.402 * red, grey - 0.344136 * blue - 0.714136 * red, grey + 1.772 * blue]  # BT.601
    scaled = pyav_reader.upright(frame, 0, fitted((96, 128), short_side), VideoReformatter())
    assert np.allclose(scaled.mean((0, 1)), expected, atol=0.4)


def test_writing_a_film_leaves_the_priority_as_it_was(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    for name in ("av1.mp4", "h264.mkv"):
        make(tmp_path, name)
        assert os.sched_getscheduler(0) == before
