"""Rooms: all pieces of the kind are there, nothing stands in anything else, and there is a way through."""

import numpy as np
import pytest

from embodied_ssl.keys import generator
from embodied_ssl.sim.drive.kinds import ANYWHERE, KINDS, ON_WALLS
from embodied_ssl.sim.drive.modelling import bounds
from embodied_ssl.sim.drive.rooms import BODY, HEIGHT, furnish
from embodied_ssl.sim.drive.scheme import draw_scheme
from embodied_ssl.sim.drive.spec import Indoors
from embodied_ssl.sim.drive.track import draw_motion, draw_walk, integrate

MAKES = sorted(
    {make for kind in KINDS.values() for make in (*(need.make for need in kind.sure), *kind.strays)} | {*ANYWHERE, *ON_WALLS},
    key=lambda make: make.__name__,
)


def rooms(kind, count):
    return [furnish(kind, generator("room", kind, number)) for number in range(count)]


@pytest.mark.parametrize("make", MAKES, ids=lambda make: make.__name__)
def test_a_piece_keeps_to_its_footprint_and_to_the_room(make):
    for number in range(4):
        rng = generator("piece", make.__name__, number)
        piece = make(rng, draw_scheme(rng, (0.1, 0.1, 0.9), (0.1, 0.1, 0.5), 0.5, False))
        low, high = bounds(piece.parts)
        assert max(-low[0], high[0]) <= piece.width / 2 + 0.03
        assert low[1] >= -0.03
        assert high[1] <= piece.depth + 0.03
        assert low[2] >= -0.02
        assert high[2] <= HEIGHT + 0.06
        assert low[2] >= piece.low - 0.03


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_rooms_of_a_kind_have_its_pieces_and_a_way_through(kind, count):
    for number, room in enumerate(rooms(kind, count)):
        counts = {}
        for piece in room.pieces[: room.sure]:
            counts[piece.name] = counts.get(piece.name, 0) + 1
        for need in KINDS[kind].sure:
            assert need.fewest <= counts[need.make.__name__] <= need.most
        boxes = np.array([[piece.low, piece.high] for piece in room.pieces])
        assert (np.abs(boxes[:, :, :2]) <= np.array([room.width, room.depth]) / 2 + 1e-9).all(), f"{kind} {number}"
        apart = (boxes[:, None, 0] >= boxes[None, :, 1]) | (boxes[:, None, 1] <= boxes[None, :, 0])
        assert (apart.any(axis=2) | np.eye(len(boxes), dtype=bool)).all(), f"{kind} {number}"
        rng = generator("way", kind, number)
        track = draw_walk(room, rng, Indoors(), 10)
        assert room.free(track.position[:, :2]).all()


@pytest.mark.parametrize("kind", ["library", "gym"])
def test_free_is_what_a_slow_loop_finds(kind):
    for room in rooms(kind, 3):
        points = generator("free", kind).uniform(-4, 4, (200, 2))
        for (x, y), free in zip(points, room.free(points), strict=True):
            ok = abs(x) < room.width / 2 - BODY and abs(y) < room.depth / 2 - BODY
            for piece in room.pieces:
                near_x = piece.low[0] - BODY <= x <= piece.high[0] + BODY
                near_y = piece.low[1] - BODY <= y <= piece.high[1] + BODY
                ok &= not (near_x and near_y)
            assert ok == free


def test_parts_in_the_room_lie_in_the_boxes_that_their_pieces_take():
    for kind in KINDS:
        for piece in rooms(kind, 1)[0].pieces:
            low, high = bounds(piece.parts)
            assert (low[:2] >= np.array(piece.low[:2]) - 0.03).all()
            assert (high[:2] <= np.array(piece.high[:2]) + 0.03).all()


def test_pieces_that_make_one_kind_stand_in_others_too():
    """So that one piece alone tells little."""
    assert len(KINDS) >= 8
    for name, kind in KINDS.items():
        own = {need.make for need in kind.sure}
        others = {make for other in KINDS if other != name for make in KINDS[other].strays} | set(ANYWHERE)
        others |= {need.make for other in KINDS if other != name for need in KINDS[other].sure}
        assert len(own) >= 3
        assert len(own & others) >= len(own) / 2, name


def test_rooms_of_a_kind_differ_and_repeat():
    one, again = (furnish("office", generator("same", 1)) for _ in range(2))
    other = furnish("office", generator("same", 2))
    assert [piece.low for piece in one.pieces] == [piece.low for piece in again.pieces]
    assert (one.width, one.depth) != (other.width, other.depth)


def test_every_walk_goes_straight_and_turns_both_ways_alike():
    totals = np.zeros(3)
    for index in range(40):
        speed, turn = draw_motion(generator("motion", index), Indoors(), 10)
        assert 40 <= len(turn) == len(speed) <= 60
        counts = np.array([(turn > 0.3).sum(), (turn < -0.3).sum(), (np.abs(turn) < 0.1).sum()])
        assert counts.min() >= 3
        totals += counts
    assert totals[0] == pytest.approx(totals[1], rel=0.1)
    assert totals.min() > 0.15 * totals.sum()


def test_a_walk_at_another_rate_is_as_long():
    slow, fast = (len(draw_motion(generator("rate", 1), Indoors(), rate)[0]) / rate for rate in (10, 30))
    assert slow == pytest.approx(fast, abs=0.5)


def test_an_arc_has_the_motion_that_it_should():
    # 10 m/s, 0.2 rad/s, across the wrap at pi: ten frames make 0.2 rad, v/w sin and v/w (1 - cos).
    track = integrate(np.zeros(2), 3.0, np.full(11, 10.0), np.full(11, 0.2), 0.0, 10)
    motion = track.camera_poses()[10]
    assert np.arctan2(motion[0, 2], motion[0, 0]) == pytest.approx(-0.2)  # to the left is about the camera's -y
    assert motion[[2, 0], 3] == pytest.approx([9.9335, -0.9967], abs=1e-4)
