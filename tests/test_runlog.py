"""The log of a run goes on after a resume as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

from embodied_ssl.files import read_lines, write_lines
from embodied_ssl.runlog import RunLog


def test_lines_after_the_point_of_return_are_dropped(tmp_path: Path) -> None:
    rows = [{"stage": stage, "step": step, "loss": 1.0} for stage in (0, 1) for step in (1, 2, 3)]
    write_lines(tmp_path / "log.jsonl", rows)
    log = RunLog(tmp_path, stage=1, step=2)
    log.add(1, 3, {"loss": 2.0})
    log.close()
    assert read_lines(tmp_path / "log.jsonl") == [*rows[:5], {"stage": 1, "step": 3, "loss": 2.0}]


def test_a_stage_killed_before_its_first_checkpoint_begins_with_no_lines_of_its_own(tmp_path: Path) -> None:
    rows = [{"stage": stage, "step": step} for stage in (0, 1) for step in (0, 1)]
    write_lines(tmp_path / "log.jsonl", rows)
    assert RunLog(tmp_path, stage=1, step=0).rows(0) == rows[:2]
    assert read_lines(tmp_path / "log.jsonl") == rows[:2]


def test_what_was_seen_before_training_reaches_tensorboard_with_the_next_line(tmp_path: Path) -> None:
    """Not before: its writer has a thread, which must not exist when the training's workers are forked."""
    log = RunLog(tmp_path, 0, 0)
    log.add(0, 0, {"health/spread": 0.5})
    assert not (tmp_path / "tensorboard").exists()
    log.add(0, 1, {"loss": 1.0})
    log.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("health/spread")] == [(0, 0.5)]


def test_a_line_cut_by_a_crash_does_not_spoil_the_next(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"stage": 0, "step": 1}\n{"stage": 0, "st')
    log = RunLog(tmp_path, 0, 1)
    log.add(0, 2, {"loss": 1.0})
    log.close()
    assert [row["step"] for row in read_lines(tmp_path / "log.jsonl")] == [1, 2]


def test_bad_items_are_counted_by_name_over_restarts(tmp_path: Path) -> None:
    for reason in ("empty file", "cut short"):
        log = RunLog(tmp_path, 0, 0)
        log.add_bad([("b.png", reason), ("a.png", reason), ("b.png", reason)])
        log.close()
    assert read_lines(tmp_path / "bad_items.jsonl") == [
        {"name": "a.png", "reason": "cut short", "times": 2},
        {"name": "b.png", "reason": "cut short", "times": 4},
    ]


def test_a_silent_rank_writes_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0, 0, silent=True)
    log.add(0, 1, {"loss": 1.0})
    log.add_bad([("a.png", "empty file")])
    log.close()
    assert list(tmp_path.iterdir()) == []
