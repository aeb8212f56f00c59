"""Preparing a set may be killed, repeated and shared among processes; it ends in the same files, or says in a line why not."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl import cli
from embodied_ssl.datasets.io import array_cache, flow, frame_cache, prepare_video, video_index
from embodied_ssl.datasets.io.numbered import numbered, write_video
from embodied_ssl.datasets.io.video import VideoFrames
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY
from embodied_ssl.prepare import Order, Report, parse_bytes, plan_for, prepare, shown_bytes, videos_of
from embodied_ssl.progress import Silent

FRAMES, RATE = 24, 30
ORDER = Order(cache="rgb", short_side=24, workers=1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four films and, among them, four files that are none."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        write_video(folder / f"{number}.mp4", [numbered(n, period=20 + number) for n in range(FRAMES)], options={"g": "12"})
    (folder / "1_empty.mp4").write_bytes(b"")
    (folder / "2_text.mp4").write_text("no film at all")
    whole = (folder / "0.mp4").read_bytes()
    (folder / "3_cut.mp4").write_bytes(whole[: len(whole) // 3])  # its table of contents comes last
    (folder / "é ü.mp4").write_bytes(whole[:100])
    return folder


GOOD, BAD = 4, 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_cache(tmp_path / "cache", monkeypatch)


def use_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBODIED_SSL_CACHE", str(folder))
    video_index._in_memory.clear()
    frame_cache._opened.cache_clear()
    return folder


def run(videos: Path, order: Order = ORDER) -> Report:
    return prepare(plan_for(videos_of(VideoFolder(str(videos)))[0], order), Silent())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def in_child(work: Callable[[], object]) -> int:
    """Run in a fork; returns what it ended with: 0, or minus a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_good_ones_are_made_and_bad_ones_named(videos: Path, cache: Path) -> None:
    report = run(videos)
    facts = report.to_json()
    assert (facts["videos"], facts["made"], facts["ready_before"], facts["frames_as"]) == (GOOD + BAD, GOOD, 0, "rgb")
    assert {Path(item["name"]).name: item["reason"].split(":")[0] for item in facts["left_out"]} == {
        "1_empty.mp4": "empty file",
        "2_text.mp4": "not a video",
        "3_cut.mp4": "moov atom missing or broken",
        "é ü.mp4": "moov atom missing or broken",
    }
    stored = list(frame_cache.folder().iterdir())
    assert len(stored) == GOOD
    assert facts["bytes"] == sum(path.stat().st_size for path in stored)
    assert sum(one.seconds for one in report.outcomes) == pytest.approx(GOOD * (FRAMES - 1) / RATE, rel=1e-3)


def test_a_second_run_checks_everything_and_does_nothing(videos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(videos)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in cache.rglob("*")}
    monkeypatch.setattr(video_index, "scan", None)  # nothing is decoded
    facts = run(videos).to_json()
    assert (facts["made"], facts["ready_before"], len(facts["left_out"])) == (0, GOOD, BAD)
    assert {
        path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in cache.rglob("*") if path.is_file()
    }.items() <= before.items()


def test_a_run_after_damage_mends_what_is_damaged(videos: Path, cache: Path) -> None:
    run(videos)
    good = files(cache)
    damaged, removed, index, *_ = sorted(path for path in cache.rglob("*") if path.is_file() and path.suffix == ".frames")
    data = bytearray(damaged.read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    removed.unlink()
    index.write_bytes(bytes(index.stat().st_size))
    assert run(videos).to_json()["made"] == 3
    assert files(cache) == good


@pytest.mark.parametrize("fps", [0.0, 10.0])
def test_files_do_not_depend_on_workers_or_on_what_was_there(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fps: float
) -> None:
    order = Order("rgb", 24, fps, workers=1)
    run(videos, order)
    alone = files(tmp_path / "cache")
    use_cache(tmp_path / "indexed first", monkeypatch)
    assert run(videos, Order("none", 24, fps, workers=1)).to_json()["frames_as"] == "none"
    assert not list(frame_cache.folder().iterdir())
    assert run(videos, order).to_json()["made"] == GOOD
    assert files(tmp_path / "indexed first") == alone
    if not fps:
        use_cache(tmp_path / "three workers", monkeypatch)
        assert [one.state for one in run(videos, Order("rgb", 24, fps, workers=3)).outcomes].count("made") == GOOD
        assert files(tmp_path / "three workers") == alone


def test_flow_is_found_where_it_is_asked_for(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(videos)
    order = Order("rgb", 24, workers=1, motion="dis")
    assert run(videos, order).to_json()["ready_before"] == GOOD
    monkeypatch.setattr(flow, "mean_flow", None)  # it is there now
    moved = VideoFrames(videos / "0.mp4", motion="dis").motion
    assert moved.shape == (FRAMES,)
    assert moved[1:].min() > 0


# --- killed ------------------------------------------------------------------------------------------------------------


def count_steps(monkeypatch: pytest.MonkeyPatch, at_step: Callable[[int], None]) -> None:
    """Call ``at_step`` with 1, 2, ... before and after everything that leaves a mark on the disk."""
    count = 0

    def around(name: str, target: object) -> None:
        original = getattr(target, name)

        def counted(*arguments: object, **named: object) -> object:
            nonlocal count
            count += 1
            at_step(count)
            result = original(*arguments, **named)
            count += 1
            at_step(count)
            return result

        monkeypatch.setattr(target, name, counted)

    for target, name in (
        (frame_cache.Writer, "add"),
        (frame_cache.Writer, "begin_anew"),
        (frame_cache.Writer, "finish"),
        (array_cache, "keep"),
        (np, "savez"),
        (os, "fsync"),
        (os, "replace"),
        (os, "ftruncate"),
    ):
        around(name, target)


def test_killed_at_any_moment_and_run_again_it_ends_in_the_same_files(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(videos)
    undisturbed = files(tmp_path / "cache")

    use_cache(tmp_path / "counted", monkeypatch)
    steps: list[int] = []
    with monkeypatch.context() as patched:
        count_steps(patched, steps.append)
        run(videos)
    assert files(tmp_path / "counted") == undisturbed

    rng = np.random.default_rng(0)
    last = steps[-1]
    moments = {1, 2, last - 1, last, *rng.integers(3, last - 1, 14).tolist()}
    left = 0
    for moment in sorted(moments):
        folder = use_cache(tmp_path / f"killed {moment}", monkeypatch)

        def killed() -> None:
            with monkeypatch.context() as patched:
                count_steps(patched, lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == moment else None)  # noqa: B023
                run(videos)

        assert in_child(killed) == -signal.SIGKILL
        there = files(folder)
        assert {name: data for name, data in there.items() if TEMPORARY not in name}.items() <= undisturbed.items()
        left += any(TEMPORARY in name for name in there)
        run(videos)
        assert files(folder) == undisturbed, f"killed at step {moment} of {last}"
    assert left > len(moments) / 2  # the kills did fall into the middle of something


def test_killed_between_writing_and_naming(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(videos)
    undisturbed = files(tmp_path / "cache")
    for number in range(1, 2 * GOOD + BAD + 1):  # of every index and every file of frames
        folder = use_cache(tmp_path / f"killed {number}", monkeypatch)

        def killed() -> None:
            names: list[str] = []

            def replace(source: str, target: str) -> None:
                names.append(target)
                if len(names) == number:  # noqa: B023
                    os.kill(os.getpid(), signal.SIGKILL)
                os.rename(source, target)

            with monkeypatch.context() as patched:
                patched.setattr(os, "replace", replace)
                run(videos)

        assert in_child(killed) == -signal.SIGKILL
        run(videos)
        assert files(folder) == undisturbed


def test_temporaries_of_the_dead_go_and_those_of_the_living_stay(videos: Path, cache: Path) -> None:
    from embodied_ssl.claims import claimed

    frame_cache.folder().mkdir(parents=True)
    dead = frame_cache.folder() / f"{TEMPORARY}of a video that is gone"
    dead.write_bytes(b"half")
    with claimed(frame_cache.folder() / "of another run") as living:
        assert living is not None
        run(videos)
        assert not dead.exists()
        assert Path(living.name).exists()
    assert not list(frame_cache.folder().glob(f"{TEMPORARY}*"))


# --- several at once ---------------------------------------------------------------------------------------------------


def test_processes_share_the_work(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(videos)
    undisturbed = files(tmp_path / "cache")
    folder = use_cache(tmp_path / "shared", monkeypatch)

    def one() -> None:
        facts = run(videos).to_json()
        (tmp_path / f"facts {os.getpid()}").write_text(json.dumps(facts))

    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                one()
            except BaseException:
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert files(folder) == undisturbed
    facts = [json.loads(path.read_text()) for path in tmp_path.glob("facts *")]
    assert sum(one["made"] for one in facts) == GOOD  # none was made twice
    assert {one["made"] + one["ready_before"] for one in facts} == {GOOD}
    assert {len(one["left_out"]) for one in facts} == {BAD}


def test_a_video_in_other_hands_is_waited_for(videos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    original = prepare_video.prepare_video

    def first_busy(video: str, kept: frame_cache.Kept | None, motion: flow.MotionKind) -> prepare_video.Outcome:
        asked.append(video)
        return prepare_video.Outcome(video, "busy") if asked.count(video) < 3 else original(video, kept, motion)

    monkeypatch.setattr("embodied_ssl.prepare.prepare_video", first_busy)
    monkeypatch.setattr("embodied_ssl.prepare.WAIT", 0)
    assert run(videos).to_json()["made"] == GOOD
    assert len(asked) == 3 * (GOOD + BAD)


# --- where it cannot write ---------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_finished_videos_stay(videos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        written = 0
        original = frame_cache.Writer.add

        def add(self: frame_cache.Writer, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
            nonlocal written
            written += 1
            if written > 2.5 * FRAMES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(self, pixels)

        patched.setattr(frame_cache.Writer, "add", add)
        with pytest.raises(UserError) as refused:
            run(videos)
    said = str(refused.value)
    assert "the disk is full" in said
    assert "of 8 videos are finished and kept" in said
    assert "the rest needs about" in said
    assert "\n" not in said
    there = files(cache)
    assert sum(name.startswith("frames/") for name in there) == 2
    assert not any(TEMPORARY in name for name in there)
    assert run(videos).to_json()["made"] == 2


def test_a_disk_without_room_for_an_index_is_no_success(videos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="disk is full"):
        run(videos, Order("none", workers=1))
    assert not files(cache)


def test_a_cache_folder_that_cannot_be_made(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    use_cache(tmp_path / "file", monkeypatch)
    with pytest.raises(UserError, match=r"cannot write to .*EMBODIED_SSL_CACHE"):
        run(videos)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_cache_folder_without_rights(videos: Path, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"cannot write to .*EMBODIED_SSL_CACHE"):
        run(videos)


# --- the plan ----------------------------------------------------------------------------------------------------------


def test_the_plan_is_what_it_then_takes(videos: Path, tmp_path: Path) -> None:
    found = videos_of(VideoFolder(str(videos)))[0]
    plan = plan_for(found, Order("auto", 24, workers=1))
    assert plan.kept == frame_cache.Kept(24, 0.0, "rgb")
    assert plan.hours * 3600 == pytest.approx(GOOD * FRAMES / RATE, rel=0.02)
    assert plan.bytes_as["rgb"] == pytest.approx(GOOD * FRAMES * 24 * 32 * 3, rel=0.02)
    prepare(plan, Silent())
    again = plan_for(found, Order("auto", 24, workers=1))
    assert (plan.there, again.there, again.seconds) == (0, GOOD + BAD, 0)
    assert plan.seconds > 0
    assert plan_for(found, Order("auto", 24, 10.0)).bytes_as["rgb"] == pytest.approx(plan.bytes_as["rgb"] / 3, rel=0.02)


def test_an_estimate_from_some_headers_is_scaled_up(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        shutil.copy(videos / "0.mp4", tmp_path / f"{number}.mp4")
    found = videos_of(VideoFolder(str(tmp_path)))[0]
    all_of_them = plan_for(found, ORDER)
    monkeypatch.setattr("embodied_ssl.prepare.HEADERS", 7)
    assert plan_for(found, ORDER).bytes_as["rgb"] == pytest.approx(all_of_them.bytes_as["rgb"], rel=1e-6)


def test_auto_takes_jpeg_where_rgb_is_too_much_and_refuses_where_both_are(
    videos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = videos_of(VideoFolder(str(videos)))[0]
    rgb, jpeg = (plan_for(found, ORDER).bytes_as[form] for form in ("rgb", "jpeg"))  # type: ignore[index]
    for budget, form in ((rgb, "rgb"), (rgb - 1, "jpeg"), (jpeg, "jpeg")):
        kept = plan_for(found, Order("auto", 24, budget=budget)).kept
        assert kept is not None
        assert kept.form == form
    with pytest.raises(UserError, match=r"the frames need .* as rgb and .* as jpeg, but .*--budget is .*--cache none"):
        plan_for(found, Order("auto", 24, budget=jpeg - 1))
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**9, 0, int(rgb / 0.9) - 2))
    assert plan_for(found, Order("auto", 24)).kept == frame_cache.Kept(24, 0.0, "jpeg")
    with pytest.raises(UserError, match="are free"):
        plan_for(found, ORDER)
    assert plan_for(found, Order("none", 24)).kept is None


@pytest.mark.parametrize(("text", "count"), [("20GB", 20 * 10**9), ("1.5 t", 15 * 10**11), ("500mb", 5 * 10**8), ("7", 7)])
def test_amounts_of_disk(text: str, count: int) -> None:
    assert parse_bytes(text) == count


def test_amounts_for_people() -> None:
    assert [shown_bytes(count) for count in (0, 999, 1234, 20e9, 3.21e12)] == ["0 B", "999 B", "1.23 KB", "20 GB", "3.21 TB"]
    with pytest.raises(UserError, match="20GB"):
        parse_bytes("much")


# --- the command -------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(["prepare", *arguments])
    return int(left.value.code or 0)


def test_the_command_says_what_it_will_do_and_what_it_did(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report.json"
    assert command(str(videos), "--short-side", "24", "--workers", "1", "--json", str(out)) == 0
    said = capsys.readouterr().out
    assert "8 video files" in said
    assert "as rgb" in said
    assert said.index("will index them") < said.index("made: 4")
    assert "1_empty.mp4: empty file" in said
    facts = json.loads(out.read_text())
    assert facts["made"] == GOOD
    assert len(facts["left_out"]) == BAD


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--cache", "rbg"), "did you mean 'rgb'?"),
        (("--budget", "much"), "give one as 20GB"),
        (("--short-side", "0"), "short_side"),
        (("--fps", "-1"), "--fps is -1"),
        (("--motion", "diss"), "did you mean 'dis'?"),
        (("--as", "VideoFoldr"), "did you mean 'VideoFolder'?"),
        (("--budget", "1KB"), "--cache none"),
    ],
)
def test_a_mistake_is_one_line(videos: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str) -> None:
    assert command(str(videos), *arguments) == 2
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1


def test_nothing_readable_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.mp4").write_text("text")
    assert command(str(tmp_path / "set"), "--workers", "1") == 2
    assert "none of the 1 videos" in capsys.readouterr().err


def test_pictures_need_no_preparing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from embodied_ssl.datasets.picture_folder import PictureFolder

    PictureFolder.tiny(tmp_path / "pictures")
    assert command(str(tmp_path / "pictures")) == 2
    assert "nothing to prepare" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(frame_cache.Writer, "finish", interrupted)
    assert command(str(videos), "--workers", "1") == 130
    assert "run the same command again" in capsys.readouterr().err


def test_preparing_imports_no_torch() -> None:
    """Workers are many and each would load it."""
    code = "import embodied_ssl.prepare, embodied_ssl.datasets.io.prepare_video, sys; sys.exit('torch' in sys.modules)"
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) == 0
