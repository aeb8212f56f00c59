import json
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.evaluation.scores import Score
from embodied_ssl.report import figures
from embodied_ssl.report.report import (
    BadItems,
    Commands,
    Curves,
    Facts,
    Notes,
    Patterns,
    PictureRows,
    ScoreTable,
    clear_best,
    write_report,
)

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Checks nesting and collects text and tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "unclosed tags"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def score(
    model: str, role: str, value: float, interval: tuple[float, float] | None, layer: str = "layer4", **more: object
) -> Score:
    settings = {
        "choice": "last",
        "split": f"as given {EVIL}",
        "skipped": {"count": 1, "first": [f"{EVIL}.png: cut short"]},
    }
    given = {"metric": "accuracy", "n": 100, "settings": settings, **more}
    main = given["metric"] == "accuracy"
    return Score(model, role, EVIL, "linear", layer=layer, value=value, interval=interval, main=main, **given)  # type: ignore[arg-type]


def rows() -> list[Score]:
    every = {"choice": "every"}
    return [
        score("mine", "run", 0.6, (0.55, 0.65)),
        score("random r18", "random", 0.3, (0.25, 0.35), std=0.02),
        score("gist", "descriptor", 0.5, (0.45, 0.54), layer="gist"),
        score("mine", "run", 0.3, (0.25, 0.35), metric="minus_random"),
        *(
            score("mine", "run", v, None, layer, metric="cv_accuracy", settings=every)
            for layer, v in (("stem", 0.5), ("layer4", 0.6))
        ),
        *(
            score("random r18", "random", v, None, layer, metric="cv_accuracy", settings=every, std=0.03)
            for layer, v in (("stem", 0.5), ("layer4", 0.3))
        ),
        score("gist", "descriptor", 0.5, None, "gist", metric="cv_accuracy", settings=every),
    ]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": step, "loss": 1 / (1 + step), "rate": 0.1}) for step in range(20)]
    lines += [
        json.dumps({"step": step, "held_out/accuracy": 0.5 + step / 100, "held_out/chance_accuracy": 0.25})
        for step in (0, 10, 19)
    ]
    path.write_text("\n".join([*lines, '{"step": 20, "loss": NaN}', '{"step": 21, "lo']))
    return path


def test_a_page_holds_every_section_and_nothing_from_outside(tmp_path: Path, log: Path) -> None:
    pictures = torch.rand(5, 3, 20, 30)
    path = write_report(
        tmp_path / "deep" / "report.html",
        [
            Facts(f"What {EVIL}", {f"data {EVIL}": EVIL, "seed": 3}),
            PictureRows("What it saw", [(f"tuples {EVIL}", pictures), ("more", torch.rand(2, 3, 8, 8))], EVIL),
            Curves("How it learnt", log),
            Patterns(
                "How it moved",
                [[1, 0], [0.5, 0.2]],
                [0.3, 0.1],
                [f"straight {EVIL}", "left"],
                np.random.rand(40, 2),
                unit="metres, radians",
                missing=[EVIL],
            ),
            ScoreTable("What transfers", rows()),
            Notes("Notes", [EVIL]),
            Commands("Again", [f"embodied-ssl pretrain {EVIL}", "embodied-ssl evaluate"]),
            BadItems("Left out", [BadItem(f"{EVIL}.png", "cut short")]),
            Notes("Nothing to say", []),
        ],
        title=f"Run {EVIL}",
        subtitle=EVIL,
    )
    text = path.read_text()
    page = Page(text)
    words = " ".join(page.words)
    for title in ("What it saw", "How it learnt", "How it moved", "What transfers", "Notes", "Again", "Left out"):
        assert title in words
    assert "Nothing to say" not in words
    assert "script" not in page.tags
    assert "<script" not in text
    assert words.count(EVIL) >= 10  # shown as text, everywhere
    assert page.tags.count("img") == 2 + 2 + 1 + 1
    assert all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert "http" not in text.lower().split("<body")[0]
    assert "1 could not be read and was left out" in words
    assert "0.69 at step 19, chance 0.25" in words
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_the_same_report_is_the_same_file(tmp_path: Path, log: Path) -> None:
    first, second = (
        write_report(tmp_path / name, [Curves("c", log), ScoreTable("s", rows())]).read_bytes() for name in ("a", "b")
    )
    assert first == second


def test_the_score_table_shows_baselines_differences_and_bold_only_what_is_clear(tmp_path: Path) -> None:
    text = write_report(tmp_path / "r.html", [ScoreTable("s", rows())]).read_text()
    assert text.count("<b>60.0</b>") == 1
    assert "<b>50.0</b>" not in text
    for word in ("random r18", "gist", "descriptor", "+30.0 [+25.0, +35.0]", "better", "Minus the same network untrained"):
        assert word in text
    assert "1 pictures could not be read" in text


@pytest.mark.parametrize(
    ("second", "clear"),
    [((0.45, 0.54), True), ((0.45, 0.56), False), (None, False)],
)
def test_best_is_clear_only_when_intervals_do_not_overlap(second: tuple[float, float] | None, clear: bool) -> None:
    best, other = score("a", "run", 0.6, (0.55, 0.65)), score("b", "random", 0.5, second)
    assert clear_best([other, best]) is (best if clear else None)
    assert clear_best([best]) is None


def test_nothing_bad_is_said_too(tmp_path: Path) -> None:
    assert "Everything could be read" in write_report(tmp_path / "r.html", [BadItems("Left out")]).read_text()


def test_an_empty_log_and_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("")
    assert "Nothing was logged" in write_report(tmp_path / "r.html", [Curves("c", tmp_path / "log.jsonl")]).read_text()
    with pytest.raises(UserError, match=r"none\.jsonl"):
        write_report(tmp_path / "r.html", [Curves("c", tmp_path / "none.jsonl")])


def test_the_log_is_read_around_broken_lines(log: Path) -> None:
    found = figures.read_log(log)
    assert found["loss"][0] == list(map(float, range(20)))
    assert figures.held_out_figures(found) == ["held_out/accuracy"]
    assert figures.chance_of("held_out/task/accuracy") == "held_out/task/chance_accuracy"


def test_a_contact_sheet_shows_the_very_pixels() -> None:
    pictures = torch.zeros(2, 3, 4, 4)
    pictures[0, 0] = 1  # red
    pictures[1, 2] = 1  # blue
    sheet = figures.contact_sheet([("a", pictures), ("b", torch.full((1, 3, 4, 8), 0.5))], side=8)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (8 + figures.GAP + 8, 8 + figures.GAP + 8, 3)
    assert (sheet[:8, :8] == [255, 0, 0]).all()
    assert (sheet[:8, 8 : 8 + figures.GAP] == 255).all()
    assert (sheet[:8, 8 + figures.GAP :] == [0, 0, 255]).all()
    assert (sheet[-8:, :16] == 128).all()
    assert figures.contact_sheet([]).shape == (96, 96, 3)
    assert figures.contact_sheet([("many", torch.rand(40, 3, 4, 4))], side=4, most=3).shape[1] == 3 * 4 + 2 * figures.GAP


@pytest.mark.parametrize("wrong", [torch.rand(3, 4, 4), torch.rand(2, 2, 4, 4)])
def test_other_shapes_are_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[n, 3, H, W\]"):
        figures.contact_sheet([("x", wrong)])


def test_pixels_outside_the_range_are_clipped() -> None:
    assert figures.contact_sheet([("x", torch.tensor([-5.0, 5.0, float("nan")]).view(1, 3, 1, 1))], side=1).tolist() == [
        [[0, 255, 128]]
    ]


def test_figures_leave_nothing_open() -> None:
    backend = matplotlib.get_backend()
    for figure in (
        figures.patterns([], [], [], []),
        figures.patterns([[1, 0]], [0], ["a"], []),
        figures.layers([]),
    ):
        assert figures.png(figure)[:4] == b"\x89PNG"
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
    assert matplotlib.get_backend() == backend


def test_names_are_never_read_as_formulas() -> None:
    assert figures.png(figures.patterns([[1, 0], [0, 1]], [1, 2], ["$\\frac$", "a_b^{"], [[1, 0], [0, 1]]))
    named = [score("$\\bad{$", "run", 0.5, None, "$x^{", metric="cv_accuracy", settings={"choice": "every"})]
    assert figures.png(figures.layers(named))
