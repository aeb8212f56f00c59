"""What every protocol of transfer keeps to, whatever it measures: found by looking, so that a new one is covered at once."""

import dataclasses
import json
from functools import cache

import numpy as np
import pytest
from made_up import labelled

from embodied_ssl import discover
from embodied_ssl.backbones import BackboneConfig, untrained
from embodied_ssl.datasets.target import Target
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.features import weights_hash
from embodied_ssl.evaluation.models import Model
from embodied_ssl.evaluation.pictures import Preprocessing
from embodied_ssl.evaluation.protocol import OnFeatures
from embodied_ssl.evaluation.scores import Score, format_table, headline
from embodied_ssl.evaluation.transfer import evaluate

PROTOCOLS = sorted(discover.protocols())
CONV4 = BackboneConfig("conv4")
SETTINGS = Settings(random_seeds=(0, 1), descriptors=("raw16",), precision="fp32")
ALONE = dataclasses.replace(SETTINGS, random_seeds=(), descriptors=())


@cache
def target() -> Target:
    return labelled(48)


@cache
def candidate() -> Model:
    return Model("mine", untrained(CONV4, 8), CONV4, Preprocessing(size=32, resize=36), pretrain_seed=8)


@cache
def rows(name: str) -> tuple[Score, ...]:
    return tuple(evaluate([candidate()], target(), [discover.protocols()[name].tiny()], SETTINGS))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_it_says_what_it_is(name: str) -> None:
    kind = discover.protocols()[name]
    assert kind.needs in ("label", "tags", "boxes", "mask", "depth")
    assert kind.cost > 0
    assert dataclasses.fields(kind) == dataclasses.fields(kind.tiny())
    hash(kind())  # frozen, and of hashable settings: they name cached rows
    assert discover.first_sentence(__import__(kind.__module__, fromlist=["x"]))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_main_figure_has_an_interval_that_says_what_it_covers(name: str) -> None:
    shown = headline(rows(name))
    assert {row.model for row in shown} >= {"mine", "random conv4"}
    for row in shown:
        assert row.protocol == name
        assert row.metric == discover.protocols()[name].metric
        assert row.interval is not None
        assert row.interval[0] <= row.value <= row.interval[1]
        assert row.settings["interval"]
        assert row.n > 0
    assert format_table(list(rows(name)))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_random_init_stands_beside_it_and_is_subtracted(name: str) -> None:
    found = rows(name)
    assert {row.pretrain_seed for row in found if row.role == "random"} == {0, 1, None}
    differences = [row for row in found if row.metric == "minus_random"]
    assert {(row.choice, row.shots) for row in differences} == {
        (row.choice, row.shots) for row in found if row.main and row.model == "mine"
    }
    on_features = issubclass(discover.protocols()[name], OnFeatures) and discover.protocols()[name].pooling == "global"  # type: ignore[union-attr]
    assert any(row.role == "descriptor" for row in found) == on_features


@pytest.mark.parametrize("name", PROTOCOLS)
def test_all_settings_are_in_every_row(name: str) -> None:
    for row in rows(name):
        stated = row.settings["protocol"]
        assert {f.name for f in dataclasses.fields(discover.protocols()[name])} <= set(stated)
        json.dumps(row.to_json(), allow_nan=False)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_weights_and_batch_norm_of_the_judged_network_never_move(name: str) -> None:
    rows(name)
    assert weights_hash(candidate().backbone) == weights_hash(untrained(CONV4, 8))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_same_twice_is_identical_json(name: str) -> None:
    again = evaluate([candidate()], target(), [discover.protocols()[name].tiny()], ALONE)
    first = [row for row in rows(name) if row.model == "mine" and row.metric != "minus_random"]
    assert json.dumps([row.to_json() for row in again]) == json.dumps([row.to_json() for row in first])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_test_answers_choose_nothing(name: str) -> None:
    """With the test part's answers exchanged, figures change, but not one choice: layer, strength, rate or step."""
    source = target().source
    division = target().divisions[0]
    turned = dict(zip(division.test, np.roll(division.test, 1), strict=True))
    order = [turned.get(row, row) for row in range(len(source))]
    columns = (("boxes", "boxes"), ("masks", "mask"), ("depths", "depth"))
    answers = {
        "labels": None if source.labels is None else source.labels[order],
        "tags": None if source.tags is None else source.tags[order],
        **{field: [source[row][key] for row in order] for field, key in columns},
    }
    other = dataclasses.replace(target(), source=type(source)("squares", source.pictures, **answers))
    second = evaluate([candidate()], other, [discover.protocols()[name].tiny()], ALONE)
    first = [row for row in rows(name) if row.model == "mine" and row.metric != "minus_random"]
    assert [row.layer for row in first] == [row.layer for row in second]
    chosen = [{key: row.settings[key] for key in ("C", "rate", "step", "stage") if key in row.settings} for row in first]
    assert chosen == [{key: row.settings[key] for key in ("C", "rate", "step", "stage") if key in row.settings} for row in second]
    if issubclass(discover.protocols()[name], OnFeatures):  # networks of a few steps say the same of everything
        assert [row.value for row in first] != [row.value for row in second]
