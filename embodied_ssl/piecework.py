"""Piecework for several processes: same pieces, same results, in whatever order they are finished and whichever worker dies.

Processes are spawned, never forked (a forked PyBullet or FFmpeg shares state with its parent), so a script that asks for more
than one needs the usual ``if __name__ == "__main__":``. Each worker has a line of its own to the parent and shares no lock
with anybody, so that a killed one leaves nothing held. Workers leave when told to, when the parent is gone, or at the end.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from embodied_ssl.errors import UserError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

TRIES = 3  # workers that one piece may cost
GIVE_UP = 10  # pieces left out, after which the trouble is not with the pieces
STILLBORN = 3  # workers that may die before they have begun
BEAT = 0.2  # seconds between signs of life
TICK = 1.0  # seconds that the parent listens at a time
GRACE = 5.0  # seconds to leave in, once told to
START = 60.0  # seconds to start in, at least: a busy disk is no hang

_BORN, _ALIVE, _DONE, _FAILED = range(4)  # what a worker says


class Stopped(Exception):
    """The parent asked this worker to leave its piece unfinished."""


class LeftOut(UserError):
    """Some pieces kept killing their workers; all others are finished.

    Args:
        pieces: name of each, and what happened to its last worker.
    """

    def __init__(self, pieces: Sequence[tuple[str, str]]) -> None:
        self.pieces = list(pieces)
        name, reason = self.pieces[0]
        more = f" (and {len(self.pieces) - 1} more)" if len(self.pieces) > 1 else ""
        super().__init__(f"{name}{more} was left out after {TRIES} workers: {reason}; everything else that was begun is kept")

    def __reduce__(self) -> tuple[Any, ...]:
        return LeftOut, (self.pieces,)


class _Listener(Protocol):
    def step(self, doing: str) -> None: ...


_listener: _Listener | None = None


def check_stop(doing: str = "") -> None:
    """To be called between steps of a piece: a sign of life to the parent.

    Args:
        doing: what is begun now; should the worker die of it, this is what is named.

    Raises:
        Stopped: the parent has been interrupted.
    """
    if _listener is not None:
        _listener.step(doing)


@dataclass(frozen=True)
class Watch:
    """What the parent is told while the pieces are made.

    Args:
        on_steps: called with how many steps (calls of `check_stop`) were made since; negative when a worker has died over them.
        on_trouble: called with a line for people whenever a worker is replaced.
        name: of a piece.
    """

    on_steps: Callable[[int], None] = lambda count: None
    on_trouble: Callable[[str], None] = lambda line: None
    name: Callable[[Any], str] = str


def finished(
    work: Callable[[Piece], Result], pieces: Sequence[Piece], workers: int, patience: float = 0.0, watch: Watch = Watch()
) -> Iterator[Result]:
    """Do every piece, and yield results as they come; in order, and in this process, when ``workers`` is at most 1.

    Args:
        work: a function that can be pickled.
        pieces: what to call it with.
        workers: processes; at most 1 means this one.
        patience: see `spawned`.
        watch: told how it goes.

    Raises:
        LeftOut: after all else is done: pieces whose workers died, time after time.
        UserError: workers die before they begin.
    """
    if workers <= 1 or len(pieces) <= 1:
        yield from alone(work, pieces, watch)
    else:
        yield from spawned(work, pieces, workers, patience, watch=watch)


def alone(work: Callable[[Piece], Result], pieces: Sequence[Piece], watch: Watch = Watch()) -> Iterator[Result]:
    """Do every piece in this process, in order. Nothing watches over it."""
    counting = _Counting(watch.on_steps)
    for piece in pieces:
        yield counting.call(work, piece)


class _Counting:
    """Where there is no parent: steps are only counted."""

    def __init__(self, on_steps: Callable[[int], None]) -> None:
        self.on_steps = on_steps

    def step(self, doing: str) -> None:
        self.on_steps(1)

    def call(self, work: Callable[[Piece], Result], piece: Piece) -> Result:
        global _listener
        _listener = self
        try:
            return work(piece)
        finally:
            _listener = None


class _Line:
    """A worker's end of its line."""

    def __init__(self, line: Connection) -> None:
        self.line = line
        self.steps = 0  # in this worker's life
        self.told = 0  # of these, how many the parent knows of
        self.often = False
        self.busy = False
        self.leaving = False
        self._last = 0.0

    def terminate(self, *_: object) -> None:
        """SIGTERM, which schedulers send to every process of a job: leave, but not in the middle of a step."""
        self.leaving = True
        if not self.busy:
            os._exit(0)

    def step(self, doing: str) -> None:
        self.steps += 1
        now = time.monotonic()
        if self.leaving:
            raise Stopped
        if self.often or now - self._last >= BEAT:
            self._last = now
            if self.line.poll():  # while a piece is in hand the parent says nothing but: leave
                raise Stopped
            self.line.send((_ALIVE, self._new_steps(), doing))

    def _new_steps(self) -> int:
        new, self.told = self.steps - self.told, self.steps
        return new

    def answer(self, kind: int, value: Any) -> None:
        self.line.send((kind, self._new_steps(), (value, self.leaving)))


def _leave_with_parent() -> NoReturn:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _worker(line: Connection, work: Callable[[Any], Any], recycle: int) -> None:
    """A worker's life."""
    global _listener
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _listener = own = _Line(line)
    signal.signal(signal.SIGTERM, own.terminate)
    try:
        line.send((_BORN, 0, ""))
        while not own.leaving:
            own.busy = False
            piece, own.often = line.recv()
            own.busy = True
            try:
                kind, value = _DONE, work(piece)
            except Stopped:
                return
            except Exception as error:
                kind, value = _FAILED, _portable(error)
            own.leaving |= 0 < recycle <= own.steps
            try:
                own.answer(kind, value)
            except (pickle.PicklingError, AttributeError, TypeError) as error:  # what was made cannot be sent
                own.answer(_FAILED, _portable(error))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the parent hung up


def _portable(error: Exception) -> Exception:
    """The exception with its traceback as a note, or one that says the same if it cannot be pickled."""
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a worker:\n{trace}")
    return error


@dataclass
class _Job(Generic[Piece]):
    piece: Piece
    name: str
    deaths: int = 0


@dataclass(eq=False)
class _Hand(Generic[Piece]):
    """The parent's view of a worker."""

    process: SpawnProcess
    line: Connection
    job: _Job[Piece] | None = None
    born: bool = False
    leaving: bool = False
    deaf: bool = False  # its line is closed
    steps: int = 0  # of the job in hand
    doing: str = ""
    silent: float = 0.0  # seconds that the parent has listened and heard nothing

    def give(self, job: _Job[Piece]) -> None:
        self.job, self.steps, self.doing, self.silent = job, 0, "", 0.0
        try:
            self.line.send((job.piece, job.deaths > 0))
        except (BrokenPipeError, ConnectionResetError):
            self.deaf = True  # its end will be noticed by the sentinel

    def fate(self) -> str:
        """How the process ended."""
        self.process.join()
        code = self.process.exitcode or 0
        if code < 0:
            try:
                return f"killed by {signal.Signals(-code).name}"
            except ValueError:
                return f"killed by signal {-code}"
        return f"ended with exit code {code}"


def spawned(
    work: Callable[[Piece], Result],
    pieces: Sequence[Piece],
    workers: int,
    patience: float = 0.0,
    recycle: int = 0,
    watch: Watch = Watch(),
) -> Iterator[Result]:
    """Do every piece in processes that are replaced when they die or hang; yields results as they come.

    Args:
        work: a function that can be pickled; it calls `check_stop` between its steps.
        pieces: what to call it with.
        workers: processes, at least one.
        patience: seconds that a worker may be silent (no call of `check_stop`, no result) before it is killed; 0 for ever.
        recycle: steps after which a worker leaves, once its piece is finished, for a fresh one; 0 for never.
        watch: told how it goes.

    Raises:
        LeftOut: after all else is done: pieces of which each has cost `TRIES` workers.
        UserError: workers die before they begin.
        Exception: what ``work`` raised.
    """
    crew = _Crew(work, pieces, workers, patience, recycle, watch)
    try:
        while not crew.idle():
            yield from crew.listen()
    finally:
        crew.dismiss()
    if crew.lost:
        raise LeftOut(crew.lost)


@dataclass(eq=False)
class _Crew(Generic[Piece, Result]):
    """All workers, and what is left to do."""

    work: Callable[[Piece], Result]
    pieces: Sequence[Piece]
    workers: int
    patience: float
    recycle: int
    watch: Watch
    hands: list[_Hand[Piece]] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)
    stillborn: int = 0

    def __post_init__(self) -> None:
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._queue = deque(_Job(piece, self.watch.name(piece)) for piece in self.pieces)
        self._last = time.monotonic()
        self._employ()

    def idle(self) -> bool:
        """Whether nothing is queued or in hand."""
        return not self._queue and all(hand.job is None for hand in self.hands)

    def _employ(self) -> None:
        """Start as many workers as there is work for, and give those with empty hands a piece."""
        for hand in self.hands:
            if hand.job is None and not hand.leaving and not hand.deaf and self._queue:
                hand.give(self._queue.popleft())
        while self._queue and len(self.hands) < self.workers:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_worker, args=(theirs, self.work, self.recycle), daemon=True)
            process.start()
            theirs.close()
            self.hands.append(_Hand(process, ours))
            self.hands[-1].give(self._queue.popleft())

    def listen(self) -> Iterator[Result]:
        """Wait for something to happen, at most `TICK`; yields what was finished."""
        lines: dict[Any, _Hand[Piece]] = {hand.line: hand for hand in self.hands if not hand.deaf}
        ends: dict[Any, _Hand[Piece]] = {hand.process.sentinel: hand for hand in self.hands}
        ready = wait([*lines, *ends], TICK)
        now = time.monotonic()
        listened, self._last = min(now - self._last, TICK), now  # a pause of the parent is nobody's silence
        for hand in self.hands:
            hand.silent = 0.0 if hand.job is None else hand.silent + listened
        dead = [ends[one] for one in ready if one in ends]
        for hand in {*(lines[one] for one in ready if one in lines), *(hand for hand in dead if not hand.deaf)}:
            yield from self._hear(hand)
        for hand in dead:
            self._bury(hand, hand.fate())
        for hand in [hand for hand in self.hands if 0 < self._patience_with(hand) < hand.silent]:
            hand.process.kill()
            hand.process.join()
            self._bury(hand, f"it hung, silent for {self._patience_with(hand):g} s")
        self._employ()

    def _patience_with(self, hand: _Hand[Piece]) -> float:
        return self.patience if hand.born or not self.patience else max(self.patience, START)

    def _hear(self, hand: _Hand[Piece]) -> Iterator[Result]:
        """Take in all that a worker has said."""
        try:
            while hand.line.poll():
                kind, steps, value = hand.line.recv()
                hand.silent = 0.0
                hand.steps += steps
                if steps:
                    self.watch.on_steps(steps)
                if kind == _BORN:
                    hand.born, self.stillborn = True, 0
                elif kind == _ALIVE:
                    hand.doing = value
                else:
                    result, hand.leaving = value
                    hand.job = None
                    if kind == _FAILED:
                        raise result
                    yield result
        except (EOFError, ConnectionResetError):
            hand.deaf = True

    def _bury(self, hand: _Hand[Piece], reason: str) -> None:
        """A worker is gone: what it had in hand goes back, unless it has cost too many."""
        self.hands.remove(hand)
        hand.process.join()
        hand.line.close()
        job = hand.job
        if job is None:
            return
        if hand.steps:
            self.watch.on_steps(-hand.steps)
        reason = f"{hand.doing}: {reason}" if hand.doing else reason
        if not hand.born:
            self._stillbirth(reason)
        else:
            job.deaths += 1
        if job.deaths < TRIES:
            self.watch.on_trouble(f"a worker was lost over {job.name}: {reason}; another takes its place")
            self._queue.appendleft(job)
            return
        self.lost.append((job.name, reason))
        self.watch.on_trouble(f"{job.name} is left out, for it has cost {TRIES} workers: {reason}")
        if len(self.lost) >= GIVE_UP:
            raise LeftOut(self.lost)

    def _stillbirth(self, reason: str) -> None:
        self.stillborn += 1
        if self.stillborn >= STILLBORN:
            raise UserError(
                f"worker processes die as they start ({reason}); memory is short, or a script asks for workers outside "
                'of `if __name__ == "__main__":`; what was finished is kept'
            )

    def dismiss(self) -> None:
        """Tell all to leave, and see that they do."""
        for hand in self.hands:
            hand.line.close()
        end = time.monotonic() + GRACE
        try:
            for hand in self.hands:
                hand.process.join(max(0.0, end - time.monotonic()))
        finally:  # also when Ctrl-C is pressed a second time
            for hand in self.hands:
                if hand.process.is_alive():
                    hand.process.kill()
                    hand.process.join()
