"""The demonstration: simulate, pretrain one backbone on all five kinds of supervision, judge it on scenes, write a report.

Every part resumes, so an interrupted demonstration goes on where it was.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embodied_ssl import config as configs
from embodied_ssl.config import Run
from embodied_ssl.datasets.interactions import Interactions
from embodied_ssl.datasets.picture_folder import PictureFolder
from embodied_ssl.datasets.source import DataSpec
from embodied_ssl.datasets.video_folder import VideoFolder
from embodied_ssl.errors import UserError
from embodied_ssl.evaluation.bench import Settings
from embodied_ssl.evaluation.run import Request, evaluate_run
from embodied_ssl.evaluation.scores import Score, format_table
from embodied_ssl.finished import open_run
from embodied_ssl.inspection import answered_panels, spec_at
from embodied_ssl.progress import Progress
from embodied_ssl.report.report import Notes, write_report
from embodied_ssl.report.run_report import run_sections
from embodied_ssl.sim.collecting.collect import collect
from embodied_ssl.sim.collecting.command import resolved
from embodied_ssl.sim.collecting.engines import Processes
from embodied_ssl.sim.drive.collect import collect as collect_drives
from embodied_ssl.sim.drive.spec import DriveSpec
from embodied_ssl.sim.spec import Spec
from embodied_ssl.start import Options
from embodied_ssl.trainer import pretrain

INTERACTIONS, DRIVES = 900, 60
CAUTION = "A few minutes of training show that the parts work together. They do not show what a method can reach."


@dataclass(frozen=True)
class Demonstration:
    """What is shown at the end."""

    table: str
    report: Path
    scores: list[Score]


def run_demo(out: Path, videos: str, drives: str, scenes: str, steps: int, device: str, progress: Progress) -> Demonstration:
    """Run the whole chain into a folder.

    Args:
        out: data, run and report; parts that are there already are kept.
        videos, drives, scenes: folders to use instead of what is simulated; "" for simulated.
        steps: of pretraining; 0 for the config's.
        device: ``cpu``, ``cuda`` or ``auto``.
        progress: told how far it is.

    Raises:
        UserError: a folder that nothing reads, or that has no motion or classes.
    """
    clock = _Clock(progress)
    films, ways, rooms = _simulate(out / "data", progress)
    clock.lap("simulated")
    run = _with_data(configs.load("demo")[0], out / "data" / "interactions", videos or films, drives or ways)
    run = dataclasses.replace(run, steps=steps or run.steps)
    folder = out / "run"
    pretrain([run], folder, Options(device=device, resume=folder.exists()), progress)
    clock.lap("pretrained")
    target = scenes or rooms
    request = Request(on=target, settings=Settings(device=device))
    found = evaluate_run(str(folder), request, lambda what, done, total: progress.update(done, total, what), progress.say)
    clock.lap("evaluated")
    drawn = answered_panels(open_run(folder))
    report = write_report(
        out / "report.html",
        [
            *run_sections(folder, found.scores, drawn.asked, clock.laps, drawn.answers, drawn.looks),
            Notes("A word of caution", [CAUTION]),
        ],
        "embodied_ssl: features without labels",
        "One backbone, five kinds of supervision, judged on scenes that it was never trained on.",
    )
    return Demonstration(format_table(found.scores), report, found.scores)


class _Clock:
    """How long each part took."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.laps: dict[str, str] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[f"{name} in"] = f"{now - self._last:.0f} s"
        self.progress.say(f"{name} in {now - self._last:.0f} s")
        self._last = now


def _simulate(data: Path, progress: Progress) -> tuple[str, str, str]:
    """Interactions and drives; the folders of films, of drives in KITTI layout, and of labelled stills."""
    workers = min(2, os.cpu_count() or 1)
    touched, driven = data / "interactions", data / "drives"
    spec = Spec(episodes=INTERACTIONS, renderer=resolved("auto"))
    collect(touched, spec, Processes(workers), resume=touched.exists(), progress=progress)
    collect_drives(driven, DriveSpec(drives=DRIVES), workers, driven.exists(), progress.update)
    return str(driven / "videos"), str(driven), str(driven / "stills")


def _with_data(run: Run, interactions: Path, videos: str, drives: str) -> Run:
    """The demo's run with its folders; pictures are the drives' own frames."""
    way: DataSpec = spec_at(drives)
    if "motions" not in way.open("train").provides:
        raise UserError(f"'{drives}' holds no drives with motion; give KITTI raw, KITTI odometry or donkeycar recordings")
    own = [path for path in sorted(Path(drives).iterdir()) if path.is_dir() and path.name not in ("stills", "videos")]
    frames = PictureFolder(root=",".join(map(str, own)))  # stills that lie beside them are for judging
    data: Mapping[str, DataSpec] = {
        "rotation": frames,
        "simclr": frames,
        "temporal_order": VideoFolder(root=videos, short_side=96),
        "ego_motion": way,
        "interaction": Interactions(root=str(interactions)),
    }
    return dataclasses.replace(run, data=data)
