"""Streets: houses and cars stand apart, and a drive keeps to its lane, its speed and its moves."""

import math

import numpy as np
import pytest

from embodied_ssl.keys import generator
from embodied_ssl.sim.drive.spec import Outdoors
from embodied_ssl.sim.drive.town.ground import CORNER, KERB, LANE
from embodied_ssl.sim.drive.town.route import draw_route
from embodied_ssl.sim.drive.town.town import LINES, build_town

CAR = 0.95  # half the width of the car that bears the camera
MOVES = {"left": 1, "right": -1, "straight": 0}


@pytest.fixture(scope="module")
def drives():
    found = []
    for number in range(12):
        rng = generator("street", number)
        town = build_town(rng)
        found.append((town, *draw_route(town, rng, Outdoors(), 10)))
    return found


def test_every_drive_goes_left_right_and_straight_on(drives):
    for _, track, moves in drives:
        assert sorted(moves) == ["left", "right", "straight"]
        turned = track.yaw[-1] - track.yaw[0]
        assert turned == pytest.approx(sum(MOVES[move] for move in moves) * math.pi / 2, abs=1e-6)
        assert (track.turn > 0.2).sum() >= 5
        assert (track.turn < -0.2).sum() >= 5
        assert (np.abs(track.turn) < 1e-9).mean() > 0.3


def test_left_and_right_are_balanced_however_many_junctions_are_passed():
    town = build_town(generator("balance"))
    total = 0
    for number in range(12):
        moves = draw_route(town, generator("balance", number), Outdoors(junctions=3 + 2 * (number % 2)), 10)[1]
        assert len(moves) == 3 + 2 * (number % 2)
        total += sum(MOVES[move] for move in moves)
    assert total == 0


def test_speed_stays_in_range_and_is_that_of_the_positions(drives):
    for _, track, _ in drives:
        assert track.speed.min() >= 5 - 1e-9
        assert track.speed.max() <= 15
        steps = np.linalg.norm(np.diff(track.position, axis=0), axis=1) * 10
        assert steps == pytest.approx((track.speed[1:] + track.speed[:-1]) / 2, abs=0.08)
        turns = np.diff(track.yaw) * 10
        assert turns == pytest.approx((track.turn[1:] + track.turn[:-1]) / 2, abs=0.06)
        assert np.abs(np.diff(track.speed)).max() * 10 < 3.6  # m/s^2
        assert np.abs(track.speed * track.turn).max() < 4.5  # sideways
        assert 1.4 <= track.position[0, 2] <= 1.7


def test_it_looks_where_it_goes(drives):
    for _, track, _ in drives:
        steps = np.diff(track.position[:, :2], axis=0)
        middle = (track.yaw[1:] + track.yaw[:-1]) / 2
        off = np.arctan2(steps[:, 1], steps[:, 0]) - middle
        assert np.abs(np.arctan2(np.sin(off), np.cos(off))).max() < 0.01


def test_it_keeps_to_the_right_lane_and_off_the_kerbs(drives):
    for town, track, _ in drives:
        for (x, y), yaw in zip(track.position[:, :2], track.yaw, strict=True):
            dx, dy = x - town.across[np.abs(town.across - x).argmin()], y - town.along[np.abs(town.along - y).argmin()]
            if max(abs(dx), abs(dy)) > 12:  # between junctions: to the right of the middle line, exactly
                heading = np.array([math.cos(yaw), math.sin(yaw)])
                right = dx * heading[1] - dy * heading[0] if abs(heading[0]) < 0.5 else -dy * heading[0]
                assert right == pytest.approx(LANE, abs=1e-6)
            corner = np.array([abs(dx), abs(dy)]) - KERB - CORNER
            if (corner > -CORNER).all():
                kerb = math.hypot(*np.maximum(-corner, 0)) - CORNER if (corner < 0).all() else -min(*(corner + CORNER))
                assert kerb > CAR
            elif corner.min() < -CORNER - KERB:
                pytest.fail("a place is nearer to a street's middle than to itself")


def test_it_passes_through_nothing(drives):
    for town, track, _ in drives:
        for thing in town.standing:
            if thing.model.name in ("lamp_post",):
                continue  # its arm reaches over the road, six metres up
            assert thing.distance(track.position[:, :2]).min() > CAR, thing.model.name


def test_houses_and_cars_stand_apart(drives):
    for town, _, _ in drives[:4]:
        houses = [each for each in town.standing if each.model.high[2] > 3.5 and each.model.high[1] - each.model.low[1] > 6]
        vehicles = [each for each in town.standing if each.z == 0.0]
        assert len(houses) > 50
        assert len(vehicles) > 30
        for group, overhang in ((houses, 0.9), (vehicles, 0.0)):
            for k, each in enumerate(group):
                grid = np.stack(
                    np.meshgrid(*(np.linspace(each.model.low[i] + overhang, each.model.high[i] - overhang, 5) for i in (0, 1))),
                    -1,
                )
                c, s = math.cos(each.yaw), math.sin(each.yaw)
                points = grid.reshape(-1, 2) @ np.array([[c, s], [-s, c]]) + [each.x, each.y]
                for other in group[k + 1 :]:
                    if math.hypot(each.x - other.x, each.y - other.y) < 20:
                        assert other.distance(points).min() > 0 or overhang, (each.model.name, other.model.name)


def test_there_are_cars_and_houses_of_several_kinds():
    names = {each.model.name for number in range(4) for each in build_town(generator("kinds", number)).standing}
    assert {"hatchback", "saloon", "estate", "offroader", "van", "pickup", "lorry"} <= names
    assert {"gabled", "block_of_flats", "shop_house", "modern"} <= names
    assert {"tree", "poplar", "conifer", "lamp_post", "traffic_light", "hedge", "sign"} <= names


def test_a_town_repeats_and_another_differs():
    one, again, other = (build_town(generator("town", number)) for number in (1, 1, 2))
    assert [(each.model.name, each.x, each.y) for each in one.standing] == [
        (each.model.name, each.x, each.y) for each in again.standing
    ]
    assert (one.weather == again.weather).all()
    assert one.across.tolist() != other.across.tolist()
    assert len(one.across) == LINES
