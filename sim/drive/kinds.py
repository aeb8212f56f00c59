"""The kinds of rooms there are, told apart by which pieces stand together and not by any one colour or piece.

A kind's own pieces are found in other kinds too: now and then as a stray, and tables, shelves, lamps and plants anywhere.
To add a kind is to add an entry to `KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from embodied_ssl.sim.camera import Vector
from embodied_ssl.sim.drive.pieces.living import (
    armchair,
    bed,
    bench,
    bin_,
    chair,
    coat_stand,
    cupboard,
    dining_set,
    drawers,
    lamp,
    low_table,
    plant,
    screen,
    shelf,
    sofa,
    table,
    trolley,
)
from embodied_ssl.sim.drive.pieces.piece import Make
from embodied_ssl.sim.drive.pieces.walls import board, clock, door, mirror, picture, poster, radiator, window
from embodied_ssl.sim.drive.pieces.water import (
    basket,
    bathtub,
    counter,
    drying_rack,
    fridge,
    ironing_board,
    sink_unit,
    stove,
    toilet,
    washbasin,
    washer,
    washers,
)
from embodied_ssl.sim.drive.pieces.work import (
    book_stack,
    chiller,
    clothes_rail,
    copier,
    drill_press,
    dumbbells,
    exercise_bike,
    gondola,
    goods_shelf,
    ladder,
    lectern,
    lockers,
    mats,
    office_desk,
    punch_bag,
    school_desk,
    store_rack,
    till,
    treadmill,
    tyres,
    wall_bars,
    weight_bench,
    workbench,
)


@dataclass(frozen=True)
class Need:
    """A piece that a room of a kind has for certain.

    Args:
        make: draws the piece.
        where: with its back to a wall, in the middle, in rows that look to the front wall, or at the front wall.
        fewest: how many at least; a room too small for them is enlarged.
        most: how many at most.
    """

    make: Make
    where: Literal["wall", "middle", "rows", "front"] = "wall"
    fewest: int = 1
    most: int = 1


@dataclass(frozen=True)
class Kind:
    """What makes a kind of room.

    Args:
        sure: pieces that it has for certain.
        strays: pieces that make other kinds, of which it has one now and then.
        sides: range of its sides, metres.
        wall: customary hue, saturation and value of its walls: a tendency, no more.
        floor: the same of its floor.
    """

    sure: tuple[Need, ...]
    strays: tuple[Make, ...]
    sides: tuple[float, float]
    wall: Vector
    floor: Vector


KINDS: dict[str, Kind] = {
    "bathroom": Kind(
        (Need(bathtub), Need(toilet), Need(washbasin)),
        (washer, drying_rack, basket, bench),
        (3.0, 3.9),
        (0.52, 0.15, 0.9),
        (0.55, 0.1, 0.75),
    ),
    "bedroom": Kind(
        (Need(bed), Need(drawers), Need(cupboard)),
        (office_desk, screen, armchair, exercise_bike, weight_bench, clothes_rail, ironing_board, washbasin),
        (3.6, 4.6),
        (0.85, 0.12, 0.85),
        (0.09, 0.35, 0.7),
    ),
    "classroom": Kind(
        (Need(board, "front"), Need(lectern, "front"), Need(school_desk, "rows", 4, 9)),
        (washbasin, shelf, lockers, screen, sink_unit),
        (5.6, 7.4),
        (0.15, 0.12, 0.9),
        (0.35, 0.15, 0.6),
    ),
    "dining_room": Kind(
        (Need(dining_set, "middle"), Need(drawers), Need(cupboard)),
        (sofa, fridge, screen, counter, stove, trolley),
        (3.8, 4.8),
        (0.3, 0.2, 0.75),
        (0.06, 0.45, 0.5),
    ),
    "gym": Kind(
        (Need(treadmill, "wall", 1, 2), Need(weight_bench), Need(dumbbells), Need(exercise_bike, "wall", 1, 2), Need(mirror)),
        (lockers, bench, screen, chiller, washbasin, punch_bag, wall_bars, mats),
        (5.0, 6.6),
        (0.6, 0.15, 0.8),
        (0.6, 0.1, 0.45),
    ),
    "kitchen": Kind(
        (Need(counter), Need(stove), Need(fridge), Need(table)),
        (washer, trolley, ironing_board, store_rack),
        (3.3, 4.4),
        (0.14, 0.3, 0.95),
        (0.04, 0.4, 0.65),
    ),
    "laundry": Kind(
        (Need(washers, "wall", 2, 2), Need(sink_unit), Need(ironing_board), Need(drying_rack), Need(basket)),
        (store_rack, toilet, counter, workbench, fridge, lockers),
        (3.4, 4.6),
        (0.5, 0.08, 0.92),
        (0.1, 0.1, 0.7),
    ),
    "library": Kind(
        (Need(book_stack, "rows", 2, 6), Need(shelf, "wall", 2, 4), Need(table)),
        (sofa, office_desk, copier, lectern, till, ladder, goods_shelf),
        (5.2, 6.8),
        (0.1, 0.15, 0.85),
        (0.02, 0.4, 0.45),
    ),
    "living_room": Kind(
        (Need(sofa), Need(screen), Need(low_table, "middle"), Need(armchair)),
        (bed, dining_set, office_desk, treadmill, counter),
        (4.0, 5.2),
        (0.09, 0.2, 0.85),
        (0.08, 0.4, 0.55),
    ),
    "office": Kind(
        (Need(office_desk, "wall", 2, 3), Need(cupboard), Need(copier)),
        (sofa, board, fridge, store_rack, book_stack, treadmill),
        (4.2, 5.6),
        (0.6, 0.05, 0.85),
        (0.62, 0.25, 0.5),
    ),
    "shop": Kind(
        (Need(gondola, "rows", 2, 6), Need(till), Need(goods_shelf, "wall", 1, 3), Need(chiller)),
        (clothes_rail, office_desk, sofa, store_rack, ladder),
        (5.2, 6.8),
        (0.13, 0.08, 0.93),
        (0.12, 0.06, 0.8),
    ),
    "workshop": Kind(
        (Need(workbench, "wall", 1, 2), Need(store_rack), Need(drill_press), Need(tyres), Need(ladder)),
        (washers, sink_unit, fridge, lockers, weight_bench, office_desk),
        (4.4, 6.0),
        (0.08, 0.08, 0.75),
        (0.1, 0.05, 0.5),
    ),
}
STRAY = 0.4  # share of rooms with a stray piece
ANYWHERE: tuple[Make, ...] = (chair, plant, lamp, drawers, shelf, cupboard, bin_, table, low_table, coat_stand, bench)
ON_WALLS: tuple[Make, ...] = (picture, picture, poster, window, window, window, door, clock, radiator, mirror)
