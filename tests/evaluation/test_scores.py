import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.scores import Score, format_table, load_scores, save_scores, verdict

ROWS = [
    Score(
        "run",
        "run",
        "toy",
        "linear",
        "layer4",
        "accuracy",
        0.579,
        None,
        (0.55, 0.61),
        1489,
        None,
        7,
        {"choice": "last", "C": 10.0},
    ),
    Score("run", "run", "toy", "low-shot", "stem", "accuracy", 0.4, 0.02, (0.35, 0.45), 1489, 5, 7, {"choice": "best"}),
    Score(
        "random r18",
        "random",
        "toy",
        "linear",
        "layer4",
        "accuracy",
        0.33,
        0.024,
        (0.3, 0.36),
        1489,
        None,
        None,
        {"choice": "last"},
    ),
    Score(
        "random r18", "random", "toy", "linear", "layer4", "accuracy", 0.31, n=1489, pretrain_seed=0, settings={"choice": "last"}
    ),
    Score("run", "run", "toy", "linear", "layer4", "minus_random", 0.249, None, (0.2, 0.3), 1489, settings={"choice": "last"}),
    Score("run", "run", "toy", "linear", "stem", "cv_accuracy", 0.5, settings={"choice": "every"}),
]
ROWS = [replace(row, main=row.metric == "accuracy") for row in ROWS]


def test_rows_come_back_from_json(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "scores.json"
    save_scores(path, ROWS)
    assert load_scores(path) == ROWS
    assert [p.name for p in path.parent.iterdir()] == ["scores.json"]
    assert set(json.loads(path.read_text())[0]) == {
        *("model", "role", "dataset", "protocol", "layer", "metric", "value", "std", "interval"),
        *("n", "shots", "pretrain_seed", "settings", "main"),
    }


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    save_scores(path, ROWS)
    with pytest.raises(ValueError, match="JSON"):
        save_scores(path, [Score("a", "run", "b", "c", "d", "e", float("nan"))])
    assert load_scores(path) == ROWS
    assert len(list(tmp_path.iterdir())) == 1


def test_hits_are_not_stored() -> None:
    assert "hits" not in Score("a", "run", "b", "c", "d", "e", 0.5, hits=np.ones((1, 2), np.float32)).to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not a list"),
        ("[1", "not a list"),
        ('[{"model": "a"}]', "lacks dataset"),
        (json.dumps([{**ROWS[0].to_json(), "x": 1}]), "unknown x"),
        (json.dumps([{**ROWS[0].to_json(), "role": "king"}]), "role"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_scores(path)


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        load_scores(tmp_path / "none.json")


def test_the_table_shows_baselines_beside_the_run() -> None:
    blocks = format_table(ROWS).split("\n\n")
    assert len(blocks) == 3  # linear, low-shot, differences
    lines = blocks[0].splitlines()
    assert "linear, last layer" in lines[0]
    assert "57.9 [55.0, 61.0] layer4" in lines[1]
    assert "random r18" in lines[2]
    assert "33.0 ± 2.4 [30.0, 36.0]" in lines[2]  # the mean over seeds, not a single seed
    assert "low-shot 5, best layer" in blocks[1]
    assert "+24.9 [+20.0, +30.0]" in blocks[2]
    assert format_table([]) == ""


@pytest.mark.parametrize(
    ("value", "interval", "reach", "said"),
    [
        (0.2, (0.15, 0.25), 0.1, "better"),
        (-0.2, (-0.25, -0.15), 0.1, "worse"),
        (0.08, (0.05, 0.1), 0.12, "within what untrained seeds differ by"),
        (0.01, (-0.02, 0.04), 0.0, "no clear difference"),
    ],
)
def test_a_gain_is_called_one_only_beyond_what_seeds_can_do(
    value: float, interval: tuple[float, float], reach: float, said: str
) -> None:
    row = Score("run", "run", "toy", "linear", "layer4", "minus_random", value, None, interval, settings={"seed_reach": reach})
    assert verdict(row) == said
