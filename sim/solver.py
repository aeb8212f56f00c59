"""How exactly a step is solved: what may be saved without the data telling another story.

Every step is 1/240 s in all of them: at 120 a second too many grasps change their label. What each keeps is measured by
``embodied-ssl bench fidelity``; beside the reference, on 120 of each task with five random things: ``default`` agrees on all
grasps, its pushes end 2 mm apart (median; 9 mm at 90 %) and its pokes' slopes differ by 0.007 %; ``fast`` agrees on 94 %, 6 mm
(17 mm) and 0.06 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from embodied_ssl.errors import UserError, suggest

RATE = 240  # steps a second


@dataclass(frozen=True)
class Solver:
    """Settings of the engine.

    Args:
        iterations: of the contact solver in a step, at most.
        residual: it stops below this.
        freeze: things that the action cannot reach are fixed while it lasts.
        corners: a hull keeps at most so many; 0 for all.
        settle: steps for things to come to rest in the pose that they were put in.
        rest: steps for things to come to rest after the action.
    """

    iterations: int
    residual: float
    freeze: bool
    corners: int
    settle: int
    rest: int


SOLVERS = {
    "reference": Solver(iterations=50, residual=1e-7, freeze=False, corners=0, settle=48, rest=48),
    "default": Solver(iterations=50, residual=1e-3, freeze=True, corners=0, settle=6, rest=16),
    "fast": Solver(iterations=30, residual=1e-3, freeze=True, corners=32, settle=4, rest=6),
}


def solver(name: str) -> Solver:
    """The solver of this name.

    Raises:
        UserError: there is none.
    """
    if name not in SOLVERS:
        raise UserError(f"there is no solver '{name}'{suggest(name, SOLVERS)}; choose {', '.join(SOLVERS)}")
    return SOLVERS[name]
