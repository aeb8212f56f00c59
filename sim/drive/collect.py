"""A camera that moves through furnished rooms: egocentric video with exact ego-motion, and labelled stills of other rooms.

Task: move through a room without touching anything, seeing 10 pictures a second.
Randomised: the room (kind, size, furniture, colours, light), the camera's height, the start, the order, length and sharpness
of straight stretches, left turns and right turns. Every drive has all three.
Success: always; a path that finds no way is slowed down until it fits.

Layout of the folder::

    manifest.json
    2026_01_01/calib_cam_to_cam.txt  calib_imu_to_velo.txt  calib_velo_to_cam.txt
    2026_01_01/2026_01_01_drive_NNNN_sync/image_02/{data/0000000000.png, timestamps.txt}
                                          oxts/{data/0000000000.txt, timestamps.txt}
                                          poses.txt    camera to first frame, 12 numbers a line
    videos/drive_NNNN.mp4
    stills/{train,test}/KIND/room_NNN_V.jpg    no room in both parts
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from embodied_ssl.datasets.io.pictures import encode
from embodied_ssl.errors import UserError
from embodied_ssl.files import TEMPORARY, whole
from embodied_ssl.keys import generator
from embodied_ssl.piecework import check_stop, finished
from embodied_ssl.sim.collect import Progress, Summary, check_request
from embodied_ssl.sim.drive.kitti import DATE, HERTZ, Track, calibration, mp4, oxts, oxts_line, poses_text, timestamps
from embodied_ssl.sim.drive.rooms import KINDS, Room, furnish
from embodied_ssl.sim.store import Manifest, filling
from embodied_ssl.sim.world import Camera, Floats, View, load_pybullet, shared_world

FORMAT = 1
FOV = 65.0
PARTS = ("train", "test")
_TRIES = 40  # paths tried at each speed


def eye(position: Sequence[float], yaw: float, size: tuple[int, int], pitch: float = 0.0) -> Camera:
    """A camera that looks along ``yaw`` and ``pitch`` (positive is upwards)."""
    x, y, z = (float(value) for value in position)
    ahead = (math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch))
    target = (x + ahead[0], y + ahead[1], z + ahead[2])
    return Camera((x, y, z), target, (0.0, 0.0, 1.0), size[0], size[1], FOV, near=0.05, far=12.0)


def draw_motion(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw a drive's forward speed in m/s and yaw rate in rad/s, one value a frame [n].

    Five stretches of 8 to 12 frames: a straight one, a left turn and a right turn in any order, and two more of these, of which
    one is the mirror of the other; so left and right are balanced in every drive. Edges are smoothed over half a second.
    """
    extra = int(rng.integers(2))
    stretches = [0, 1, -1, *((0, 0), (1, -1))[extra]]
    speed, turn = [], []
    for sign in rng.permutation(stretches):
        frames = int(rng.integers(8, 13))
        speed += [rng.uniform(0.5, 0.8) if sign == 0 else rng.uniform(0.25, 0.5)] * frames
        turn += [sign * rng.uniform(0.5, 0.9)] * frames
    kernel = np.ones(5) / 5
    smooth = [np.convolve(np.pad(values, 2, mode="edge"), kernel, mode="valid") for values in (speed, turn)]
    return smooth[0], smooth[1]


def integrate(start: Floats, yaw: float, speed: Floats, turn: Floats, height: float) -> Track:
    """Follow speed and yaw rate from a start [2]; each step between frames is an exact arc."""
    angle = turn[:-1] / HERTZ
    yaws = yaw + np.concatenate([[0.0], np.cumsum(angle)])
    chord = speed[:-1] / HERTZ * np.sinc(angle / (2 * np.pi))
    steps = np.stack([chord * np.cos(yaws[:-1] + angle / 2), chord * np.sin(yaws[:-1] + angle / 2)], axis=1)
    plane = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    return Track(np.column_stack([plane, np.full(len(plane), height)]), yaws, speed, turn)


def draw_track(room: Room, rng: np.random.Generator) -> Track:
    """Draw a path that keeps off walls and furniture; slower ones are tried when fast ones do not fit."""
    speed, turn = draw_motion(rng)
    height, half = float(rng.uniform(1.0, 1.4)), np.array([room.width, room.depth]) / 2
    starts = rng.uniform(-half, half, (2000, 2))
    starts = starts[room.free(starts)]
    if not len(starts):
        raise RuntimeError(f"the {room.kind} has no free spot")
    while True:
        for _ in range(_TRIES):
            start = starts[int(rng.integers(len(starts)))]
            track = integrate(start, float(rng.uniform(-np.pi, np.pi)), speed, turn, height)
            if bool(room.free(track.position[:, :2]).all()):
                return track
        speed = 0.85 * speed


def drive(seed: int, index: int, size: tuple[int, int]) -> tuple[Track, np.ndarray, str]:
    """Drive ``index`` of a seed: its track, frames uint8 [n, h, w, 3] and the kind of room; depends on its arguments alone."""
    rng = generator(seed, "drive", index)
    room = furnish(KINDS[index % len(KINDS)], rng)
    track = draw_track(room, rng)
    world = shared_world()
    room.build(world)
    frames = []
    for position, yaw in zip(track.position, track.yaw, strict=True):
        check_stop()
        frames.append(world.look(eye(position, float(yaw), size), room.light).rgb)
    return track, np.stack(frames), room.kind


def still_views(seed: int, kind: str, number: int, views: int, size: tuple[int, int]) -> list[View]:
    """Views into room ``number`` of a kind, each from a free spot towards a piece that makes the kind, somewhat off it."""
    rng = generator(seed, "still", kind, number)
    room = furnish(kind, rng)
    world = shared_world()
    room.build(world)
    half, seen = np.array([room.width, room.depth]) / 2, []
    for _ in range(views):
        spots = rng.uniform(-half, half, (200, 2))
        spots = spots[room.free(spots, 0.25)]
        spots = spots if len(spots) else np.zeros((1, 2))
        piece = np.array(room.taken[int(rng.integers(room.sure))][:2])
        spot = spots[int(np.argmax(np.hypot(*(spots[:6] - piece).T)))]
        aim = piece + rng.normal(0, 0.4, 2) - spot
        camera = eye((*spot, rng.uniform(1.3, 1.7)), math.atan2(aim[1], aim[0]), size, float(rng.uniform(-0.3, -0.1)))
        seen.append(world.look(camera, room.light))
    return seen


def _drive_files(seed: int, index: int, size: tuple[int, int]) -> tuple[dict[str, bytes], bytes, str]:
    """A drive's files by their path in its folder, its video, and the kind of room."""
    track, frames, kind = drive(seed, index, size)
    files = {f"image_02/data/{k:010d}.png": encode(pixels) for k, pixels in enumerate(frames)}
    files |= {f"oxts/data/{k:010d}.txt": oxts_line(row).encode() for k, row in enumerate(oxts(track))}
    times = timestamps(len(track)).encode()
    files |= {"image_02/timestamps.txt": times, "oxts/timestamps.txt": times}
    files["poses.txt"] = poses_text(track.camera_poses()).encode()
    return files, mp4(frames), kind


def drive_folder(index: int) -> str:
    """Where a drive lies in the data set."""
    return f"{DATE}/{DATE}_drive_{index:04d}_sync"


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


Job = tuple[str, str, int]  # "drive" or a part of the stills, kind of room ("" for drives), number


def _make_drive(number: int, out: Path, spec: dict[str, Any]) -> tuple[dict[str, bytes], dict[str, Any]]:
    files, video, kind = _drive_files(spec["seed"], number, tuple(spec["size"]))
    folder, film = drive_folder(number), f"videos/drive_{number:04d}.mp4"
    (out / folder).parent.mkdir(parents=True, exist_ok=True)
    (out / "videos").mkdir(exist_ok=True)
    _write_folder(out / folder, files)
    with whole(out / film) as file:
        file.write(video)
    facts = {"room": kind, "frames": sum(path.endswith(".png") for path in files)}
    return {**{f"{folder}/{path}": data for path, data in files.items()}, film: video}, facts


def _make_stills(part: str, kind: str, number: int, out: Path, spec: dict[str, Any]) -> dict[str, bytes]:
    views = still_views(spec["seed"], kind, number, spec["views"], tuple(spec["still_size"]))
    folder = f"stills/{part}/{kind}"
    files = {f"{folder}/room_{number:03d}_{k}.jpg": encode(view.rgb, ".jpg") for k, view in enumerate(views)}
    (out / folder).mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        with whole(out / path) as file:
            file.write(data)
    return files


def _piece_name(job: Job) -> str:
    what, kind, number = job
    return f"drive_{number:04d}" if what == "drive" else f"{what}/{kind}/room_{number:03d}"


def _make(job: Job, out: Path, spec: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Make one piece; returns its name and facts for the manifest."""
    check_stop()
    what, kind, number = job
    facts: dict[str, Any] = {}
    if what == "drive":
        files, facts = _make_drive(number, out, spec)
    else:
        files = _make_stills(what, kind, number, out, spec)
    return _piece_name(job), {**facts, "sha256": _hash_files(files)}


def _jobs(spec: dict[str, Any]) -> list[Job]:
    jobs: list[Job] = [("drive", "", number) for number in range(spec["drives"])]
    train, test = spec["rooms"]
    for part, numbers in zip(PARTS, (range(train), range(train, train + test)), strict=True):
        jobs += [(part, kind, number) for kind in KINDS for number in numbers]
    return jobs


def _hash_on_disk(out: Path, job: Job, views: int) -> str:
    """What `_hash_files` gives for a piece as it lies there.

    Raises:
        OSError: a file is absent or unreadable.
    """
    what, kind, number = job
    if what == "drive":
        files = [path for path in (out / drive_folder(number)).rglob("*") if path.is_file()]
        files.append(out / "videos" / f"drive_{number:04d}.mp4")
    else:
        files = [out / "stills" / what / kind / f"room_{number:03d}_{k}.jpg" for k in range(views)]
    return _hash_files({path.relative_to(out).as_posix(): path.read_bytes() for path in files})


def _sound(out: Path, job: Job, views: int, facts: dict[str, Any] | None) -> bool:
    try:
        return facts is not None and _hash_on_disk(out, job, views) == str(facts["sha256"])
    except OSError:
        return False


def collect_drives(
    out: Path,
    drives: int = 60,
    seed: int = 0,
    workers: int = 1,
    resume: bool = False,
    size: tuple[int, int] = (96, 128),
    train_rooms: int = 20,
    test_rooms: int = 12,
    views: int = 4,
    still_size: tuple[int, int] = (96, 128),
    on_progress: Progress | None = None,
) -> Summary:
    """Simulate drives through rooms, and labelled stills of other rooms, into a folder.

    Args:
        out: a folder that is absent or empty, or with ``resume`` one that an earlier call has begun.
        drives: how many.
        seed: decides everything.
        workers: processes; they change nothing but the time taken.
        resume: keep the sound pieces that are there and make the others.
        size: height and width of drives' frames, both even.
        train_rooms: rooms of each kind in the stills' training part; 0 rooms in both parts for no stills.
        test_rooms: rooms of each kind in the stills' test part.
        views: stills of each room.
        still_size: height and width of stills.
        on_progress: called with (done, total) pieces: drives and rooms.

    Raises:
        UserError: the request or the folder is refused, or writing fails; finished pieces stay.
        KeyboardInterrupt: passed on, after the workers have stopped; finished pieces stay.
    """
    check_request(("drive",), drives, size, ("drive",))
    check_request(("drive",), drives, still_size, ("drive",))
    if size[0] % 2 or size[1] % 2:
        raise UserError(f"--size is {size[0]} x {size[1]}; video needs even numbers")
    if min(train_rooms, test_rooms) < 0 or not 1 <= views <= 100:
        raise UserError(
            f"stills of {train_rooms} and {test_rooms} rooms, {views} views each; give 0 or more rooms, 1 to 100 views"
        )
    load_pybullet()
    spec: dict[str, Any] = {
        "kind": "drives",
        "format": FORMAT,
        "seed": seed,
        "drives": drives,
        "size": size,
        "rooms": [train_rooms, test_rooms],
        "views": views,
        "still_size": still_size,
        "hertz": HERTZ,
        "engine": f"pybullet {importlib.metadata.version('pybullet')}",
        "renderer": "TinyRenderer",
    }
    with filling(out, spec, resume) as manifest:
        made, total = _fill(manifest, workers, on_progress or (lambda done, total: None))
        return Summary(out, total, made, manifest.content_hash())


def _fill(manifest: Manifest, workers: int, on_progress: Callable[[int, int], None]) -> tuple[int, int]:
    """Make the pieces that are missing; returns how many were made, and how many there are."""
    out, spec = manifest.folder, manifest.spec
    (out / DATE).mkdir(exist_ok=True)
    matrix = eye((0, 0, 1), 0.0, tuple(spec["size"])).matrix
    for name, text in calibration(matrix, tuple(spec["size"])).items():
        with whole(out / DATE / name) as file:
            file.write(text.encode())
    jobs, views = _jobs(spec), spec["views"]
    left = [job for job in jobs if not _sound(out, job, views, manifest.pieces.get(_piece_name(job)))]
    for job in left:
        manifest.pieces.pop(_piece_name(job), None)
    done = len(jobs) - len(left)
    on_progress(done, len(jobs))
    for name, facts in finished(partial(_make, out=out, spec=spec), left, workers):
        manifest.add(name, facts)
        done += 1
        on_progress(done, len(jobs))
    return len(left), len(jobs)


def content_hash(out: Path) -> str:
    """Hash all files of a folder anew; equal for equal data sets, however they were made.

    Raises:
        UserError: it is not a folder of simulated drives.
    """
    manifest = Manifest.load(out)
    for job in _jobs(manifest.spec):
        if _piece_name(job) in manifest.pieces:
            manifest.pieces[_piece_name(job)] = {"sha256": _hash_on_disk(out, job, manifest.spec["views"])}
    return manifest.content_hash()
