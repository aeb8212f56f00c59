"""Where in its picture a patch was cut must not be seen in the patch: lenses tell it unless they are kept from it.

A ridge regression is asked for the absolute place of one patch, from how its colours lie beside each other, on exactly what the
network is given. Its error is held against that of always guessing the centre.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch
from aberration import Colours, colour_shifts, scene, through_a_lens
from numpy.typing import NDArray

from embodied_ssl.backbones import BackboneConfig
from embodied_ssl.datasets.io.pictures import ArrayPicture
from embodied_ssl.keys import generator
from embodied_ssl.methods.image.relative_patch import RelativePatchConfig

Floats = NDArray[np.float64]
PICTURES, TRAIN = 72, 48
RIDGE = 10.0
CHANCE = 0.97  # of the centre-guesser's error: what is no better than that does not know
LENSES: dict[str, Colours] = {"magenta": (1.025, 1.0, 1.025), "red": (1.025, 1.0, 1.0), "red and blue apart": (1.025, 1.0, 0.975)}
NO_LENS: Colours = (1.0, 1.0, 1.0)


@cache
def patches_seen(lens: Colours) -> tuple[dict[str, Floats], Floats]:
    """What the network is given of every picture's patches, as colour shifts by way of treating colours, and where they lay."""
    view = RelativePatchConfig(size=24, grids=4).build(BackboneConfig("conv4").build()).view
    ways = {way: dataclasses.replace(view, colours=way) for way in ("all", "project", "drop")}
    shifts: dict[str, list[Floats]] = {way: [] for way in ways}
    places = []
    for number in range(PICTURES):
        drawn = view.draw({"picture": ArrayPicture(through_a_lens(scene(number), lens))}, generator(number))
        batch = {key: torch.from_numpy(value)[None] for key, value in drawn.items()}
        for way, one in ways.items():
            shifts[way].append(colour_shifts(one.render(batch)["patches"][0].numpy()))
        places.append(2 * (drawn["corner"] + view.size / 2) / drawn["resized"] - 1)  # down and across, -1 to 1
    return {way: np.stack(found) for way, found in shifts.items()}, np.stack(places)


def error_of_place(way: Literal["all", "project", "drop"], lens: Colours) -> float:
    """The mean distance of the place told from one patch to the true one, over that of the centre, on pictures not fitted."""
    shifts, places = patches_seen(lens)
    known, asked = shifts[way][:TRAIN].reshape(-1, 24), shifts[way][TRAIN:].reshape(-1, 24)
    where, truth = places[:TRAIN].reshape(-1, 2), places[TRAIN:].reshape(-1, 2)
    mean, spread, centre = known.mean(0), known.std(0) + 1e-9, where.mean(0)
    known, asked = (known - mean) / spread, (asked - mean) / spread
    weights = np.linalg.solve(known.T @ known + RIDGE * np.eye(24), known.T @ (where - centre))
    guessed = asked @ weights + centre
    return float(np.linalg.norm(guessed - truth, axis=1).mean() / np.linalg.norm(centre - truth, axis=1).mean())


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_relative_loc_place_is_seen_in_one_patch_without_counter_measures(lens: Colours) -> None:
    assert error_of_place("all", lens) < 0.6


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_relative_loc_place_is_at_chance_when_channels_are_dropped(lens: Colours) -> None:
    assert error_of_place("drop", lens) > CHANCE


def test_relative_loc_place_is_at_chance_when_green_magenta_is_projected_out() -> None:
    """For what the projection is made against: red and blue displaced alike."""
    assert error_of_place("project", LENSES["magenta"]) > CHANCE


@pytest.mark.parametrize("lens", ["red", "red and blue apart"])
def test_the_projection_leaves_red_against_blue(lens: str) -> None:
    """Its limit, and why channels are dropped where pictures are sharp: it removes one axis of colour, lenses part along two."""
    assert error_of_place("project", LENSES[lens]) < 0.6


@pytest.mark.parametrize("way", ["all", "project", "drop"])
def test_nothing_else_in_these_pictures_tells_the_place(way: Literal["all", "project", "drop"]) -> None:
    assert error_of_place(way, NO_LENS) > CHANCE
