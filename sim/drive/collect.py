"""Collect drives and stills into a folder: egocentric video with exact ego-motion, and labelled pictures of other places.

Layout of the folder::

    manifest.json        the specification, and for each drive and each room of the stills every draw and a hash
    DATE/calib_cam_to_cam.txt  calib_imu_to_velo.txt  calib_velo_to_cam.txt
    DATE/DATE_drive_NNNN_sync/image_02/{data/0000000000.png, timestamps.txt}
                              oxts/{data/0000000000.txt, timestamps.txt}
                              poses.txt    camera to first frame, 12 numbers a line
                              proj_depth/groundtruth/image_02/0000000000.png    where depth is kept
    videos/drive_NNNN.mp4
    stills/{train,test}/KIND/room_NNN_V.jpg    no room in both parts

Every camera has a date of its own, since KITTI calibrates by date: 2026_01_01 and on in rooms, 2026_02_01 and on in streets.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.files import TEMPORARY, whole
from embodied_ssl.piecework import Watch, check_stop, finished
from embodied_ssl.sim.camera import Camera
from embodied_ssl.sim.collecting.store import Manifest, filling
from embodied_ssl.sim.drive.drive import NOTHING_BEYOND, STREET, Driven, drive, fov_of, kinds_of, place_of, still_views
from embodied_ssl.sim.drive.kinds import KINDS
from embodied_ssl.sim.drive.kitti import calibration, depth_png, mp4, oxts, oxts_line, poses_text, timestamps
from embodied_ssl.sim.drive.spec import DriveSpec, Indoors, Look, Outdoors, Stills, check
from embodied_ssl.sim.render.choose import process_renderer

KIND = "drives"
FORMAT = 2  # to be raised when the same specification no longer gives the same files
PARTS = ("train", "test")
_PARTS = {"indoors": Indoors, "outdoors": Outdoors, "look": Look, "stills": Stills}


@dataclass(frozen=True)
class Summary:
    """What `collect` leaves behind.

    Attributes:
        out: the folder.
        total: pieces in it: drives, and rooms of the stills.
        made: pieces that this call made; the others were there.
        sha256: hash over the content, equal for equal data sets.
    """

    out: Path
    total: int
    made: int
    sha256: str


Progress = Callable[[int, int], None]
Job = tuple[str, str, int]  # "drive" or a part of the stills, kind of place ("" for drives), number


def date_of(place: str, camera: int) -> str:
    """The date that a camera's drives have."""
    return f"2026_{'02' if place == STREET else '01'}_{camera + 1:02d}"


def drive_folder(spec: DriveSpec, index: int) -> str:
    """Where a drive lies in the data set."""
    place, number = place_of(spec, index)
    date = date_of(place, number % spec.cameras)
    return f"{date}/{date}_drive_{index:04d}_sync"


def _drive_files(driven: Driven, spec: DriveSpec) -> dict[str, bytes]:
    """A drive's files by their path in its folder."""
    track = driven.track
    files = {f"image_02/data/{k:010d}.png": encode(pixels) for k, pixels in enumerate(driven.frames)}
    files |= {f"oxts/data/{k:010d}.txt": oxts_line(row).encode() for k, row in enumerate(oxts(track, spec.rate))}
    times = timestamps(date_of(driven.place, driven.number), len(track), spec.rate).encode()
    files |= {"image_02/timestamps.txt": times, "oxts/timestamps.txt": times}
    files["poses.txt"] = poses_text(track.camera_poses()).encode()
    if spec.depth:
        place = "proj_depth/groundtruth/image_02"
        files |= {f"{place}/{k:010d}.png": depth_png(view.depth, NOTHING_BEYOND) for k, view in enumerate(driven.views)}
    return files


def _hash_files(files: dict[str, bytes]) -> str:
    """SHA-256 over paths and contents."""
    total = hashlib.sha256()
    for name, data in sorted(files.items()):
        total.update(f"{name}:{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write files under a temporary name, then rename the folder."""
    temporary = folder.with_name(f"{TEMPORARY}{os.getpid()}-{folder.name}")
    for name, data in files.items():
        path = temporary / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    if folder.exists():  # left by a run that was killed before the manifest listed it
        shutil.rmtree(folder)
    os.replace(temporary, folder)


def _make_drive(number: int, out: Path, spec: DriveSpec) -> tuple[dict[str, bytes], dict[str, Any]]:
    driven = drive(spec, number, process_renderer(spec.renderer))
    files, video = _drive_files(driven, spec), mp4(driven.frames, spec.rate)
    folder, film = drive_folder(spec, number), f"videos/drive_{number:04d}.mp4"
    (out / folder).parent.mkdir(parents=True, exist_ok=True)
    (out / "videos").mkdir(exist_ok=True)
    _write_folder(out / folder, files)
    with whole(out / film) as file:
        file.write(video)
    return {**{f"{folder}/{path}": data for path, data in files.items()}, film: video}, driven.facts


def _still_files(part: str, kind: str, number: int, views: int) -> list[str]:
    return [f"stills/{part}/{kind}/room_{number:03d}_{k}.jpg" for k in range(views)]


def _make_stills(part: str, kind: str, number: int, out: Path, spec: DriveSpec) -> tuple[dict[str, bytes], dict[str, Any]]:
    views, facts = still_views(spec, kind, number, process_renderer(spec.renderer))
    names = _still_files(part, kind, number, spec.stills.views)
    files = {name: encode(view.rgb, ".jpg") for name, view in zip(names, views, strict=True)}
    (out / names[0]).parent.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        with whole(out / path) as file:
            file.write(data)
    return files, facts


def _piece_name(job: Job) -> str:
    what, kind, number = job
    return f"drive_{number:04d}" if what == "drive" else f"{what}/{kind}/room_{number:03d}"


def _make(job: Job, out: Path, spec: DriveSpec) -> tuple[str, dict[str, Any]]:
    """Make one piece; returns its name and facts for the manifest."""
    check_stop()
    what, kind, number = job
    files, facts = _make_drive(number, out, spec) if what == "drive" else _make_stills(what, kind, number, out, spec)
    return _piece_name(job), {**facts, "sha256": _hash_files(files)}


def still_kinds(spec: DriveSpec) -> tuple[str, ...]:
    """Labels of the stills: all kinds of rooms, and "street" where drives go through streets."""
    return kinds_of(spec) if spec.places == "rooms" else (*kinds_of(spec), STREET)


def _jobs(spec: DriveSpec) -> list[Job]:
    jobs: list[Job] = [("drive", "", number) for number in range(spec.drives)]
    train, test = spec.stills.train, spec.stills.test
    for part, numbers in zip(PARTS, (range(train), range(train, train + test)), strict=True):
        jobs += [(part, kind, number) for kind in still_kinds(spec) for number in numbers]
    return jobs


def _hash_on_disk(out: Path, job: Job, spec: DriveSpec) -> str:
    """What `_hash_files` gives for a piece as it lies there.

    Raises:
        OSError: a file is absent or unreadable.
    """
    what, kind, number = job
    if what == "drive":
        files = [path for path in (out / drive_folder(spec, number)).rglob("*") if path.is_file()]
        files.append(out / "videos" / f"drive_{number:04d}.mp4")
    else:
        files = [out / name for name in _still_files(what, kind, number, spec.stills.views)]
    return _hash_files({path.relative_to(out).as_posix(): path.read_bytes() for path in files})


def trouble(out: Path, job: Job, spec: DriveSpec, facts: Mapping[str, Any] | None) -> str:
    """What is wrong with a piece: "missing", "altered" or, if nothing is, ""."""
    if facts is None:
        return "missing"
    try:
        return "" if _hash_on_disk(out, job, spec) == str(facts.get("sha256")) else "altered"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "altered"


def collect(
    out: Path,
    spec: DriveSpec,
    workers: int = 1,
    resume: bool = False,
    on_progress: Progress = lambda done, total: None,
    patience: float = 0.0,
) -> Summary:
    """Simulate drives through rooms and streets, and labelled stills of others, into a folder.

    Args:
        out: a folder that is absent or empty, or with ``resume`` one that an earlier call has begun.
        spec: what is asked for; decides every byte.
        workers: processes; they change nothing but the time taken.
        resume: keep the sound pieces that are there and make the others.
        on_progress: called with (done, total) pieces: drives and rooms of the stills.
        patience: seconds of silence until a worker is replaced; 0: never.

    Raises:
        UserError: the request or the folder is refused, or writing fails; finished pieces stay.
        KeyboardInterrupt: passed on, after the workers have stopped; finished pieces stay.
    """
    check(spec, tuple(KINDS))
    indoors = replace(spec.indoors, kinds=kinds_of(spec))  # by name, so that a kind that is added later changes nothing
    spec = replace(spec, indoors=indoors, renderer=process_renderer(spec.renderer).name)
    with filling(out, {"kind": KIND, "format": FORMAT, **asdict(spec)}, resume) as manifest:
        made, total = _fill(manifest, spec, partial(finished, workers=workers, patience=patience), on_progress)
        manifest.finish()
        return Summary(out, total, made, manifest.sha256)


def _write_calibrations(out: Path, spec: DriveSpec) -> None:
    for place in {place_of(spec, index)[0] == STREET for index in range(min(2, spec.drives))}:
        name = STREET if place else "room"
        for number in range(spec.cameras):
            camera = Camera((0, 0, 0), (1, 0, 0), (0, 0, 1), *spec.size, fov_of(spec, name, number))
            folder = out / date_of(name, number)
            folder.mkdir(exist_ok=True)
            for file, text in calibration(camera.matrix, spec.size).items():
                with whole(folder / file) as written:
                    written.write(text.encode())


def _fill(manifest: Manifest, spec: DriveSpec, hands: Callable[..., Iterator[Any]], on_progress: Progress) -> tuple[int, int]:
    """Make the pieces that are missing; returns how many were made, and how many there are."""
    out = manifest.folder
    _write_calibrations(out, spec)
    jobs = _jobs(spec)
    left = [job for job in jobs if trouble(out, job, spec, manifest.pieces.get(_piece_name(job)))]
    for job in left:
        manifest.drop(_piece_name(job))
    done = len(jobs) - len(left)
    on_progress(done, len(jobs))
    for name, facts in hands(partial(_make, out=out, spec=spec), left, watch=Watch(name=_piece_name)):
        manifest.add(name, facts)
        done += 1
        on_progress(done, len(jobs))
    return len(left), len(jobs)


def spec_in(kept: Mapping[str, Any]) -> DriveSpec:
    """The specification that a manifest keeps.

    Raises:
        TypeError: it was written by another version.
    """
    values = {field.name: kept[field.name] for field in fields(DriveSpec) if field.name in kept}
    parts = {name: kind(**_with_tuples(values[name])) for name, kind in _PARTS.items() if name in values}
    return DriveSpec(**{**_with_tuples(values), **parts})


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def expected(manifest: Manifest) -> tuple[list[str], Callable[[str, Mapping[str, Any] | None], str]]:
    """The names of all pieces that a folder should hold, and who can say what is wrong with one, "" for nothing.

    Raises:
        TypeError: the folder was written by another version.
    """
    spec = spec_in(manifest.spec)
    jobs = {_piece_name(job): job for job in _jobs(spec)}
    return list(jobs), lambda name, facts: trouble(manifest.folder, jobs[name], spec, facts)


def content_hash(out: Path) -> str:
    """Hash all files of a folder anew; equal for equal data sets, however they were made.

    Raises:
        UserError: it is not a folder of simulated drives.
    """
    manifest = Manifest.load(out)
    spec = spec_in(manifest.spec)
    for job in _jobs(spec):
        if _piece_name(job) in manifest.pieces:
            manifest.pieces[_piece_name(job)] = {"sha256": _hash_on_disk(out, job, spec)}
    return manifest.content_hash()
