"""Every piece is done whoever dies, once, and what cannot be done is named."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from odd_jobs import modules, slow_square, square, unsendable

from embodied_ssl import piecework
from embodied_ssl.errors import BadItem, UserError
from embodied_ssl.piecework import LeftOut, Watch, alone, finished, spawned


def jobs(folder, count=6, **troubles):
    """``count`` jobs, of which ``n3="kill"`` says that the fourth kills its worker."""
    return [(number, troubles.get(f"n{number}", ""), str(folder)) for number in range(count)]


def begun(folder, number):
    return len((folder / f"begun-{number}").read_text().splitlines())


class Told:
    """A watch that remembers."""

    def __init__(self):
        self.steps, self.lines = 0, []
        self.watch = Watch(self.on_steps, self.lines.append, lambda job: f"piece {job[0]}")

    def on_steps(self, count):
        self.steps += count


def squares(results):
    return sorted((number, square) for number, square, _ in results)


def test_one_process_goes_in_order_and_counts_steps(tmp_path):
    told = Told()
    made = list(finished(square, jobs(tmp_path), 1, watch=told.watch))
    assert [number for number, _, _ in made] == [0, 1, 2, 3, 4, 5]
    assert {process for _, _, process in made} == {os.getpid()}
    assert told.steps == 18
    piecework.check_stop()  # outside of any piece it does nothing


def test_two_processes_do_what_one_does(tmp_path):
    told = Told()
    made = list(finished(square, jobs(tmp_path, 12), 2, watch=told.watch))
    assert squares(made) == [(n, n * n) for n in range(12)]
    assert os.getpid() not in {process for _, _, process in made}
    assert all(begun(tmp_path, n) == 1 for n in range(12))
    assert (told.steps, told.lines) == (36, [])


@pytest.mark.parametrize(("trouble", "said"), [("kill", "step 1 of 2: killed by SIGKILL"), ("exit", "ended with exit code 3")])
def test_a_worker_that_dies_is_replaced(tmp_path, trouble, said):
    told = Told()
    assert squares(spawned(square, jobs(tmp_path, n2=trouble), 2, watch=told.watch)) == [(n, n * n) for n in range(6)]
    assert [begun(tmp_path, n) for n in range(6)] == [1, 1, 2, 1, 1, 1]
    assert told.steps == 18  # those of the dead are taken back
    assert len(told.lines) == 1
    assert told.lines[0].startswith("a worker was lost over piece 2: ")
    assert said.split(": ")[-1] in told.lines[0]


@pytest.mark.parametrize("trouble", ["hang", "stop"])
def test_a_worker_that_hangs_is_replaced(tmp_path, trouble):
    told = Told()
    assert squares(spawned(square, jobs(tmp_path, n1=trouble), 2, 3.0, watch=told.watch)) == [(n, n * n) for n in range(6)]
    assert begun(tmp_path, 1) == 2
    assert "piece 1" in told.lines[0]
    assert "it hung, silent for 3 s" in told.lines[0]


def test_signs_of_life_are_what_counts_not_the_length_of_a_piece(tmp_path):
    told = Told()  # six seconds of work, and a patience of four
    assert sorted(spawned(slow_square, jobs(tmp_path, 2), 2, 4.0, watch=told.watch)) == [0, 1]
    assert told.lines == []


def test_a_piece_that_kills_every_worker_is_left_out_and_named_with_its_step(tmp_path):
    told, made = Told(), []
    with pytest.raises(LeftOut, match=r"piece 2 was left out after 3 workers: step 1 of 2: killed by SIGKILL") as caught:
        made.extend(spawned(square, jobs(tmp_path, n2="kill always"), 2, watch=told.watch))
    assert squares(made) == [(n, n * n) for n in (0, 1, 3, 4, 5)]
    assert caught.value.pieces == [("piece 2", "step 1 of 2: killed by SIGKILL")]
    assert begun(tmp_path, 2) == 3
    assert len(told.lines) == 3
    assert told.steps == 15


def test_it_ends_when_every_piece_kills(tmp_path, monkeypatch):
    monkeypatch.setattr(piecework, "TRIES", 1)
    monkeypatch.setattr(piecework, "GIVE_UP", 2)
    troubles = {f"n{number}": "kill always" for number in range(30)}
    with pytest.raises(LeftOut, match=r"\(and 1 more\)"):
        list(spawned(square, jobs(tmp_path, 30, **troubles), 1))
    assert len(list(tmp_path.glob("begun-*"))) <= 3


@pytest.mark.parametrize(
    ("trouble", "kind", "said"),
    [("refuse", UserError, "not like this"), ("bad", BadItem, "a row: is bad"), ("odd", RuntimeError, "LocalError: odd")],
)
def test_what_work_raises_comes_here_with_its_traceback(tmp_path, trouble, kind, said):
    with pytest.raises(kind, match=said) as caught:
        list(spawned(square, jobs(tmp_path, n0=trouble), 1))
    assert "in trouble_of" in caught.value.__notes__[0]


def test_what_cannot_be_sent_is_said(tmp_path):
    with pytest.raises((RuntimeError, AttributeError), match="pickle"):
        list(spawned(unsendable, jobs(tmp_path, 1), 1))


def test_workers_are_recycled_after_so_many_steps(tmp_path):
    made = list(spawned(square, jobs(tmp_path, 6), 1, recycle=6))  # three steps a piece
    assert squares(made) == [(n, n * n) for n in range(6)]
    processes = [process for _, _, process in made]
    assert [processes.index(process) for process in processes] == [0, 0, 2, 2, 4, 4]


def test_workers_that_die_as_they_start_end_it(tmp_path):
    script = tmp_path / "unguarded.py"  # the mistake of a script without `if __name__ == "__main__":`
    script.write_text(f"from embodied_ssl.piecework import finished\nprint(list(finished(abs, {list(range(4))!r}, 2)))\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 1
    assert "UserError: worker processes die as they start (ended with exit code 1)" in done.stderr
    assert 'if __name__ == "__main__":' in done.stderr


def test_workers_hold_only_what_their_work_needs(tmp_path):
    (names,) = spawned(modules, jobs(tmp_path, 1), 1)
    assert not {"torch", "cv2", "pyarrow"} & set(names)


def alive(folder):
    """Processes that have begun a piece and still live."""
    found = {int(line) for path in folder.glob("begun-*") for line in path.read_text().split()}
    return {process for process in found if Path(f"/proc/{process}").exists() and state(process) != "Z"}


def state(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def wait_until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path, number):
    script = tmp_path / "run.py"
    script.write_text(
        f"import signal, sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells that start tests in the background ignore it
        "from embodied_ssl.piecework import finished\nfrom odd_jobs import square\n"
        f"if __name__ == '__main__':\n    list(finished(square, {jobs(tmp_path, 4, n0='hang', n1='hang')!r}, 2))\n"
    )
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until(lambda: len(alive(tmp_path)) == 2)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    assert process.wait(60) != 0
    wait_until(lambda: not alive(tmp_path))


def test_leaving_early_stops_the_workers(tmp_path):
    for _ in spawned(square, jobs(tmp_path, 50), 2):
        break
    assert not alive(tmp_path)
    assert len(list(tmp_path.glob("begun-*"))) < 50


def test_alone_is_what_finished_does_with_one_worker(tmp_path):
    assert squares(alone(square, jobs(tmp_path))) == squares(finished(square, jobs(tmp_path), 0))
