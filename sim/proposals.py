"""Samplers of one's own: a Python file says which of several drawn actions is done, so that a trained model may propose.

``Spec.sampler`` may be the path of a file that ends in ``.py`` and holds

    def propose(task, view, candidates, rng):
        return 0

It is asked once for every interaction. ``task`` is its name; ``view`` is what the camera saw (`View`: rgb, depth, ids), with the
camera's noise; ``candidates`` are actions float64 [n, k] that the "mixed" sampler has drawn, as each task's ``choose`` gives
them (grasp: row, column, angle bin; push: row, column, end row, end column, height; poke: row, column; observe: place of a thing,
angle around, lean); ``rng`` is a numpy generator for draws. The answer is the place of the candidate to do. There are 16, or as
many as the file's ``CANDIDATES`` says, and the first is what the plain sampler would have done, so that ``return 0`` changes
nothing. The answer must depend on nothing else, or a data set is not the same twice: every sixteenth item is asked
about twice, and other answers are refused.

`from_run` makes such a function of a network that has learnt from interactions:

    from embodied_ssl.sim.proposals import from_run
    propose = from_run("runs/first", how="hard")
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from embodied_ssl.errors import UserError, suggest
from embodied_ssl.keys import generator
from embodied_ssl.sim.camera import Floats, View

if TYPE_CHECKING:
    from embodied_ssl.methods.embodied.grasp_judge import GraspJudge

Propose = Callable[[str, View, Floats, np.random.Generator], int]
Draw = Callable[[np.random.Generator], tuple[float, ...]]
CANDIDATES = 16
MOST = 4096
_TWICE = 16  # one item of so many is asked about twice
HOWS = ("hard", "curious")


def is_file(sampler: str) -> bool:
    """Whether a sampler is a file of proposals and not a name."""
    return sampler.endswith(".py")


@dataclass(frozen=True)
class Proposals:
    """An opened file.

    Attributes:
        path: as it was given.
        propose: the file's function.
        count: how many candidates it chooses among.
        fingerprint: SHA-256 of the file, and of the trained network that it uses through `from_run`.
    """

    path: str
    propose: Propose
    count: int
    fingerprint: str

    def ask(self, task: str, view: View, candidates: Floats, rng: np.random.Generator) -> int:
        """The place of the candidate to do.

        Raises:
            UserError: the file fails (which line, and how), or answers with no place of a candidate.
        """
        try:
            answer = self.propose(task, _untouchable(view), _locked(candidates), rng)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{_where(self.path, error)}: {_said(error)}") from error
        if isinstance(answer, bool) or not isinstance(answer, int | np.integer) or not 0 <= answer < len(candidates):
            raise UserError(
                f"'{self.path}' answers {answer!r} for a {task}; propose returns a candidate's place, 0 to {len(candidates) - 1}"
            )
        return int(answer)


_opened: dict[tuple[str, str], Proposals] = {}


def opened(path: str) -> Proposals:
    """A file of proposals, run once in this process for each content that it has.

    Raises:
        UserError: no such file, it fails, or holds no function ``propose(task, view, candidates, rng)``.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"the file of proposals '{path}' cannot be read ({error.strerror}); sampler takes a name or a .py file"
        ) from None
    content = hashlib.sha256(data).hexdigest()
    if (path, content) not in _opened:
        _opened[path, content] = _open(path, content)
    return _opened[path, content]


def fingerprint(path: str) -> str:
    """SHA-256 of a file of proposals and of the network that it uses through `from_run`; of nothing else that it imports.

    Raises:
        UserError: as `opened`.
    """
    return opened(path).fingerprint


def choose(path: str, task: str, view: View, draw: Draw, key: tuple[int, int, int]) -> tuple[float, ...]:
    """Draw candidates and let a file choose.

    Args:
        path: of the file.
        task: its name.
        view: what the camera saw.
        draw: the plain sampler.
        key: seed, index of the item, and attempt.

    Raises:
        UserError: as `opened` and `Proposals.ask`, or it answers otherwise when it is asked again.
    """
    proposals = opened(path)
    draws = [
        generator(key[0], "action", *key[1:]),
        *(generator(key[0], "candidate", *key[1:], k) for k in range(1, proposals.count)),
    ]
    candidates = [draw(rng) for rng in draws]

    def ask() -> int:
        return proposals.ask(task, view, np.array(candidates), generator(key[0], "proposal", *key[1:]))

    answer = ask()
    if key[1] % _TWICE == 0 and (other := ask()) != answer:
        raise UserError(
            f"'{path}' answers {answer} and, asked the same again, {other}; draw from the given rng, and keep nothing"
        )
    return candidates[answer]


def from_run(run: str | Path, task: str = "grasp", how: Literal["hard", "curious"] = "hard") -> TrainedProposer:
    """A function that chooses as a trained network says.

    Args:
        run: a folder made by pretrain, of the interaction method or of a multi-task run that holds it.
        task: "grasp", the only one whose success a network predicts; in other tasks the first candidate is done.
        how: "hard" does what is most likely to succeed: what fails then is a hard negative (as in the staged learning of Pinto
            and Gupta 2016, arXiv:1509.06825). "curious" does what is least certain, nearest to one in two.

    Raises:
        UserError: no such run, no such task or way, or the run has learnt no grasps.
    """
    if task != "grasp":
        raise UserError(f"a network predicts success of grasps only, not of '{task}'; give task='grasp'")
    if how not in HOWS:
        raise UserError(f"how='{how}' is not accepted{suggest(how, HOWS)}")
    from embodied_ssl.methods.embodied.grasp_judge import open_judge  # torch only for those who ask for it

    return TrainedProposer(open_judge(Path(run)), task, how)


@dataclass(frozen=True)
class TrainedProposer:
    """Chooses among grasps by the success that a network predicts; of equals the first.

    Attributes:
        judge: the network.
        task: in which it chooses; in others it answers 0.
        how: "hard" or "curious".
    """

    judge: GraspJudge
    task: str
    how: str

    @property
    def fingerprint(self) -> str:
        """Of the network."""
        return self.judge.fingerprint

    def __call__(self, task: str, view: View, candidates: Floats, rng: np.random.Generator) -> int:
        if task != self.task:
            return 0
        chances = self.judge.chances(view.rgb, candidates)
        return int(np.argmax(chances) if self.how == "hard" else np.argmin(np.abs(chances - 0.5)))


def _open(path: str, content: str) -> Proposals:
    module = _run(path, f"proposals_{content[:16]}")
    propose = getattr(module, "propose", None)
    if not callable(propose):
        raise UserError(f"'{path}' holds no function propose(task, view, candidates, rng)")
    count = getattr(module, "CANDIDATES", CANDIDATES)
    if not isinstance(count, int) or not 1 <= count <= MOST:
        raise UserError(f"'{path}' has CANDIDATES = {count!r}; give a whole number from 1 to {MOST}")
    network = str(getattr(propose, "fingerprint", ""))
    whole = hashlib.sha256(f"{content} {network}".encode()).hexdigest() if network else content
    return Proposals(path, propose, count, whole)


def _run(path: str, name: str) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None  # it ends in .py
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickles that it defines look themselves up there
    try:
        found.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        del sys.modules[name]
        raise UserError(f"{_where(path, error)}: {_said(error)}") from error
    return module


def _where(path: str, error: BaseException) -> str:
    """The file, and its last line that an error went through."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f"'{path}', line {error.lineno}"
    here = Path(path).resolve()
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).resolve() == here]
    return f"'{path}', line {lines[-1]}" if lines else f"'{path}'"


def _said(error: BaseException) -> str:
    first = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _untouchable(view: View) -> View:
    """A copy that cannot be written to, so that no answer changes what the next one or the data set sees."""
    return replace(view, rgb=_locked(view.rgb), depth=_locked(view.depth), ids=_locked(view.ids))


def _locked(array: Any) -> Any:
    copy = np.array(array)
    copy.flags.writeable = False
    return copy
