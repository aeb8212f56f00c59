"""The benchmark: right frames are asked for and looked at, ratios are those of their rounds, and nothing is asserted on time."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import odd_feeds
import pytest

from embodied_ssl.benchmark import jobs, tables
from embodied_ssl.benchmark.feeds import BASELINES, FEEDS, Feed, chosen, exact, window
from embodied_ssl.benchmark.figures import TARGETS, Spread, Target, Timed, figures_of, target_for
from embodied_ssl.benchmark.machine import Machine, this_machine
from embodied_ssl.benchmark.made_videos import MadeVideo, drawn, number_in
from embodied_ssl.benchmark.timing import Built, Checked, Measure
from embodied_ssl.benchmark.video import Measured, Plan, as_json, run, videos_of
from embodied_ssl.cli import main
from embodied_ssl.errors import UserError
from embodied_ssl.progress import Silent

TINY = MadeVideo(144, 12, 7)
BY_NAME = {feed.name: feed for feed in FEEDS}
WRONG = ("neighbours", "recoloured", "missing", "dies")


def odd(name: str) -> Feed:
    return Feed(name, name, getattr(odd_feeds, name))


@pytest.fixture(scope="module")
def measured() -> Measured:
    """One round with an honest feed, one with a cache, and four that go wrong."""
    cached = replace(window(4), name="cached", build=odd_feeds.build)
    sound = next(run(Plan([TINY], [BY_NAME["exact"], cached], rounds=1, workers=2), Silent()))
    wrong = next(run(Plan([TINY], [odd(name) for name in WRONG], rounds=1, workers=1), Silent()))
    return replace(sound, rows=[*sound.rows, *wrong.rows])


def test_honest_feeds_have_figures_and_right_frames(measured: Measured) -> None:
    rows = {row.name: row for row in measured.rows}
    for row in (rows["exact"], rows["cached"]):
        assert (row.note, row.wrong) == ("", 0)
        for figure in (row.cpu_ms, row.rate, row.rate_together):
            assert figure is not None
            assert 0 < figure.least <= figure.median <= figure.most
        assert row.resident_mb is not None
        assert row.resident_mb > 10
        assert row.over_decord is None  # that baseline was not among the feeds
    assert rows["exact"].frames == 2 * 3
    assert 2 * 3 < rows["cached"].frames <= 2 * 4 * 3


def test_a_cache_stands_beside_its_cost(measured: Measured) -> None:
    cost = next(row for row in measured.rows if row.name == "cached").cost
    assert cost is not None
    assert cost.cpu > 0
    assert cost.real_time == pytest.approx(TINY.seconds / cost.cpu)
    assert cost.bytes == odd_feeds.CACHE
    assert cost.gb_per_hour == pytest.approx(odd_feeds.CACHE * 3600 / TINY.seconds / 1e9)
    assert (cost.paid_decord, cost.target, cost.met) == (None, 0.0, None)  # no naive loop, and targets are for 360p


def test_feeds_that_go_wrong_say_so_and_stop_nobody(measured: Measured) -> None:
    notes = {row.name: row.note for row in measured.rows if row.name in WRONG}
    assert notes == {
        "neighbours": "wrong frames: 6 of 6",
        "recoloured": "wrong frames: 6 of 6",
        "missing": "not installed",
        "dies": "failed; see standard error",
    }


def test_the_whole_run_is_shown_and_stored(measured: Measured) -> None:
    text = tables.as_text(measured, 2)
    assert re.match(r"144p, GOP 12: 256x144, 0\.\d Mbit/s, 7 s; index made once in \d+\.\d CPU s\n", text)
    assert re.search(r"^missing .* not installed$", text, re.MULTILINE)
    plan = Plan([TINY], [], 1, 2)
    stored = json.loads(json.dumps(as_json(this_machine(), plan, [measured])))
    assert [row["name"] for row in stored["videos"][0]["rows"]] == [row.name for row in measured.rows]
    markdown = tables.as_markdown(["a machine"], [measured], 2)
    columns = {line.count("|") for line in markdown.splitlines() if line.startswith("| missing") or line.startswith("| exact")}
    assert columns == {11}


def test_caches_give_the_frames_of_the_video(measured: Measured) -> None:
    path = str(measured.video.make())
    numbers = np.array([3, 90, 209])
    true = exact(path)(numbers)
    for name, apart in [("cache-rgb", 0), ("cache-jpeg", 4)]:
        feed = BY_NAME[name]
        assert feed.build is not None
        assert feed.build(path) == feed.build(path) > 210 * 1000  # made anew, not found
        assert np.abs(feed.open(path)(numbers).astype(int) - true).mean() <= apart


def test_made_videos_are_as_asked(measured: Measured) -> None:
    path = measured.video.make()
    before = path.stat().st_mtime_ns
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert container.streams.video[0].codec_context.name == "h264"
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert [number_in(frame.to_ndarray(format="rgb24")) for frame in frames] == list(range(len(TINY)))
    keys = sorted(packet.pts for packet in packets if packet.is_keyframe and packet.pts is not None)
    assert set(np.diff(keys)) == {12 * (frames[1].pts - frames[0].pts)}
    assert np.abs(frames[100].to_ndarray(format="rgb24").astype(int) - drawn(100, TINY.size)).mean() < 8
    assert measured.video.make().stat().st_mtime_ns == before  # kept, not made again


@pytest.mark.parametrize("together", [1, 16])
def test_triplets_are_rising_spans_of_one_window(together: int) -> None:
    starts = []
    for position in range(200):
        job = jobs.triplets(1800, 3, position, together)
        spans = job.groups[:, 2] - job.groups[:, 0]
        assert np.all(np.diff(job.groups, axis=1) >= 1)
        assert spans.min() >= 60
        assert job.groups.min() >= 0
        assert job.groups.max() < 1800
        assert np.ptp(job.groups) < jobs.WINDOW
        starts.append(job.groups.min())
    eighths = np.histogram(starts, bins=8, range=(0, 1600))[0]
    assert eighths.min() >= 15  # 25 windows begin in each, and triplets a little later
    again = jobs.triplets(1800, 3, 7, together)
    np.testing.assert_array_equal(again.groups, jobs.triplets(1800, 3, 7, together).groups)
    assert not np.array_equal(again.groups, jobs.triplets(1800, 4, 7, together).groups)


def test_clips_are_sixteen_frames_four_apart() -> None:
    for position in range(100):
        (frames,) = jobs.clip(210, 0, position).groups
        np.testing.assert_array_equal(frames, frames[0] + 4 * np.arange(16))
        assert frames[0] >= 0
        assert frames[-1] < 210


def test_samples_are_cut_out_of_the_frames_asked_for() -> None:
    numbers = np.array([3, 5, 9, 20])
    frames = np.zeros((4, 128, 228, 3), np.uint8)
    frames[..., 0] = numbers[:, None, None]
    frames[..., 1], frames[..., 2] = np.arange(128)[:, None], np.arange(228)
    job = jobs.Job(np.array([[3, 5, 20], [5, 9, 20]]), np.array([[0.0, 1.0], [0.5, 0.25]]))
    samples = job.cut(numbers, frames)
    assert [sample.shape for sample in samples] == [(3, 112, 112, 3)] * 2
    assert [sample[:, 0, 0].tolist() for sample in samples] == [
        [[3, 0, 116], [5, 0, 116], [20, 0, 116]],
        [[5, 8, 29], [9, 8, 29], [20, 8, 29]],
    ]


def made_up(name: str, milliseconds: list[float], wrong: int = 0, built: Built | None = None) -> Timed:
    """A feed whose rounds of 10 samples took so many processor milliseconds each, and twice that on the clock."""
    feed = replace(BY_NAME.get(name, BY_NAME["exact"]), name=name)
    rounds = [Measure(10, ms / 100, ms / 50, 200_000_000) for ms in milliseconds]
    return Timed(feed, "", built, Checked(6, wrong, 0.1), rounds, [[one, one] for one in rounds])


def test_ratios_are_taken_within_rounds() -> None:
    naive, other = BASELINES["triplets"]
    # The second round was slow for all: the ratio of medians would be 100 / 20 = 5, those of rounds are 4, 5 and 8.
    found = [made_up(naive, [80, 1000, 100]), made_up(other, [40, 400, 100]), made_up("exact", [10, 200, 25])]
    row = figures_of({one.feed.name: one for one in found}, MadeVideo(360, 30, 60))[2]
    assert row.cpu_ms == Spread(pytest.approx(25), pytest.approx(10), pytest.approx(200))
    assert row.over_decord == Spread(pytest.approx(5), pytest.approx(4), pytest.approx(8))
    assert row.over_torchcodec == Spread(pytest.approx(4), pytest.approx(2), pytest.approx(4))
    assert row.rate is not None
    assert row.rate.median == pytest.approx(20)  # 10 samples in half a second
    assert row.rate_together is not None
    assert row.rate_together.median == pytest.approx(40)
    assert row.resident_mb == 200
    assert row.met


@pytest.mark.parametrize(("own", "wrong", "met"), [(40, 0, True), (60, 0, False), (40, 1, False)])
def test_targets_need_both_ratios_and_right_frames(own: float, wrong: int, met: bool) -> None:
    found = [made_up("naive-decord", [100]), made_up("naive-torchcodec", [50]), made_up("exact", [own], wrong)]
    row = figures_of({one.feed.name: one for one in found}, MadeVideo(360, 30, 60))[2]
    assert row.target == Target("exact", 2, 1.1, height=360)
    assert row.met is met


def test_the_special_target_comes_before_the_general() -> None:
    assert target_for("window-16", MadeVideo(360, 250, 60)) == Target("window-16", 15, 10, gop=250)
    assert target_for("window-16", MadeVideo(720, 30, 60)) == Target("window-16", 8, 4)
    assert target_for("exact", MadeVideo(720, 30, 60)) is None
    assert {target.feed for target in TARGETS} <= set(BY_NAME)


def test_a_baseline_that_is_missing_or_wrong_is_no_baseline() -> None:
    absent = replace(made_up("naive-torchcodec", []), absent="not installed")
    found = [made_up("naive-decord", [100], wrong=2), absent, made_up("exact", [10])]
    rows = figures_of({one.feed.name: one for one in found}, MadeVideo(360, 30, 60))
    assert [row.note for row in rows] == ["wrong frames: 2 of 6", "not installed", ""]
    assert (rows[2].over_decord, rows[2].over_torchcodec, rows[2].met) == (None, None, None)
    text = tables.as_text(Measured(MadeVideo(360, 30, 60), 1.0, 0.5, rows), 2)
    assert "not installed" in text
    assert "wrong frames: 2 of 6" in text


def test_a_cache_pays_after_what_each_sample_saves() -> None:
    built = Built(3.0, 157_000_000)
    found = [made_up("naive-decord", [101]), made_up("naive-torchcodec", [51]), made_up("cache-rgb", [1], built=built)]
    row = figures_of({one.feed.name: one for one in found}, MadeVideo(360, 30, 120))[2]
    assert row.cost is not None
    assert row.cost.real_time == pytest.approx(40)
    assert row.cost.met is True
    assert row.cost.paid_decord == pytest.approx(15)  # 3 s / 0.1 s = 30 samples for two minutes
    assert row.cost.paid_torchcodec == pytest.approx(30)
    text = tables.as_text(Measured(MadeVideo(360, 30, 120), 1.0, 0.5, [row]), 2)
    assert "15 a minute of naive decord" in text


def test_baselines_come_along() -> None:
    assert [feed.name for feed in chosen(["window-16"])] == ["naive-decord", "naive-torchcodec", "window-16"]
    assert [feed.name for feed in chosen(["clip-exact"])] == ["clip-naive-decord", "clip-naive-torchcodec", "clip-exact"]
    assert chosen([]) == list(FEEDS)
    assert len(BY_NAME) == len(FEEDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["vidoe"], "Did you mean 'video'"),
        (["video", "--feeds", "exakt"], "did you mean 'exact'"),
        (["video", "--size", "tall"], "--size tall is not accepted; give frame heights from 129"),
        (["video", "--size", "100p"], "--size 100 is not accepted; give frame heights from 129"),
        (["video", "--gop", "0"], "--gop 0 is not accepted"),
        (["video", "--gop", "12,x"], "--gop x is not accepted"),
        (["video", "--gop", ","], "name no video"),
        (["video", "--seconds", "2"], "--seconds 2 is not accepted; give lengths from 7"),
        (["video", "--rounds", "0"], "--rounds"),
        (["video", "--workers", "1"], "--workers"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert said in errors[0]


def test_the_command_prints_and_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = figures_of({"exact": made_up("exact", [10])}, TINY)
    monkeypatch.setattr("embodied_ssl.benchmark.video.run", lambda plan, progress: iter([Measured(TINY, 0.5, 0.5, rows)]))
    files = ["--json", str(tmp_path / "b.json"), "--markdown", str(tmp_path / "b.md")]
    with pytest.raises(SystemExit) as ended:
        main(["bench", "video", "--size", "144p", "--gop", "12", "--seconds", "7", "--feeds", "exact", *files])
    assert ended.value.code == 0
    assert "exact random, kept open" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.json").read_text())["videos"][0]["rows"][0]["cpu_ms"]["median"] == pytest.approx(10)
    assert "## 144p, GOP 12" in (tmp_path / "b.md").read_text()


def test_sizes_and_groups_are_crossed() -> None:
    assert videos_of("360p,720", "12, 30", 10) == [MadeVideo(h, g, 10) for h in (360, 720) for g in (12, 30)]
    with pytest.raises(UserError, match="4000"):
        videos_of("4000p", "12", 10)


def test_a_busy_machine_is_warned_of() -> None:
    idle = Machine("a processor", 2, 0.1, "3.11", {"av": "18", "torchcodec": "not installed"})
    assert not any("warning" in line for line in idle.lines())
    assert any("busy" in line for line in replace(idle, load=1.0).lines())
    assert "torchcodec not installed" in idle.lines()[1]
