"""Write a drive as KITTI raw does: pictures, GPS/IMU packets, clocks and calibration, with exact poses beside them.

The IMU (x forward, y left, z up) sits in the camera (z forward, x right, y down), so calibration is a swap of axes. Positions
become latitudes and longitudes by the inverse of the Mercator formula with which readers of KITTI turn them into metres, in
double precision, so that poses come back to a small part of a millimetre.
"""

from __future__ import annotations

import io
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from embodied_ssl.datasets.source import Pixels
from embodied_ssl.sim.camera import Floats
from embodied_ssl.sim.drive.track import Track

EARTH = 6378137.0  # metres, as in KITTI's own code
ORIGIN = (49.0, 8.4)  # latitude and longitude of every drive's first frame, degrees

# Without its assembly x264 gives the same bytes always; with it, one small video in four differed from run to run.
_X264 = {"crf": "18", "preset": "veryfast", "x264-params": "threads=1:asm=0"}

# Columns: the camera's x, y, z in the IMU's axes.
IMU_FROM_CAMERA = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def oxts(track: Track, rate: int) -> NDArray[np.float64]:
    """GPS/IMU packets [n, 30] that give the track back; the last five columns are whole numbers."""
    latitude0, longitude0 = ORIGIN
    scale = np.cos(np.radians(latitude0))
    east = scale * EARTH * np.radians(longitude0) + track.position[:, 0] - track.position[0, 0]
    north = scale * EARTH * np.log(np.tan(np.pi * (90 + latitude0) / 360)) + track.position[:, 1] - track.position[0, 1]
    rows = np.zeros((len(track), 30))
    rows[:, 0] = 360 / np.pi * np.arctan(np.exp(north / (scale * EARTH))) - 90
    rows[:, 1] = np.degrees(east / (scale * EARTH))
    rows[:, 2] = track.position[:, 2]
    rows[:, 5] = (track.yaw + np.pi) % (2 * np.pi) - np.pi
    rows[:, 6], rows[:, 7] = track.speed * np.sin(track.yaw), track.speed * np.cos(track.yaw)  # north, east
    rows[:, 8] = track.speed
    rows[:, 11] = rows[:, 14] = np.gradient(track.speed) * rate  # forward
    rows[:, 12] = rows[:, 15] = track.speed * track.turn  # leftward
    rows[:, 13] = rows[:, 16] = 9.81
    rows[:, 19] = rows[:, 22] = track.turn
    rows[:, 23:] = (0.01, 0.01, 4, 10, 6, 6, 6)
    return rows


def oxts_line(row: NDArray[np.float64]) -> str:
    """One packet as text, with all digits that a double has."""
    return " ".join([*(repr(float(value)) for value in row[:25]), *(str(int(value)) for value in row[25:])]) + "\n"


def poses_text(poses: Floats) -> str:
    """Twelve numbers a line: the upper three rows of each pose."""
    return "".join(" ".join(repr(float(value)) for value in pose[:3].ravel()) + "\n" for pose in poses)


def timestamps(date: str, count: int, rate: int) -> str:
    """One line a frame, with KITTI's nine digits of a second."""
    lines = []
    for k in range(count):
        seconds, rest = divmod(k, rate)
        minutes, seconds = divmod(seconds, 60)
        lines.append(f"{date.replace('_', '-')} 00:{minutes:02d}:{seconds:02d}.{rest * 10**9 // rate:09d}\n")
    return "".join(lines)


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.12e}" for value in values.ravel())


def calibration(matrix: Floats, size: tuple[int, int]) -> dict[str, str]:
    """The three calibration files of a date, by name.

    Args:
        matrix: K [3, 3].
        size: height and width of pictures.
    """
    head = "calib_time: 01-Jan-2026 00:00:00\n"
    lines = [head, "corner_dist: 1.000000e-01\n"]
    facts = {
        "S": np.array([size[1], size[0]], np.float64),
        "K": matrix,
        "D": np.zeros(5),
        "R": np.eye(3),
        "T": np.zeros(3),
        "S_rect": np.array([size[1], size[0]], np.float64),
        "R_rect": np.eye(3),
        "P_rect": np.hstack([matrix, np.zeros((3, 1))]),
    }
    for camera in range(4):
        lines += [f"{name}_{camera:02d}: {_numbers(value)}\n" for name, value in facts.items()]
    still = f"T: {_numbers(np.zeros(3))}\n"
    return {
        "calib_cam_to_cam.txt": "".join(lines),
        "calib_imu_to_velo.txt": f"{head}R: {_numbers(np.eye(3))}\n{still}",
        "calib_velo_to_cam.txt": f"{head}R: {_numbers(IMU_FROM_CAMERA.T)}\n{still}"
        f"delta_f: {_numbers(np.zeros(2))}\ndelta_c: {_numbers(np.zeros(2))}\n",
    }


def depth_png(depth: NDArray[np.float32], far: float) -> bytes:
    """Metres [h, w] as KITTI keeps depth: 16-bit PNG of metres times 256; 0 where nothing is nearer than ``far``."""
    steps = np.where(depth < min(far, 65535 / 256), np.round(depth.astype(np.float64) * 256), 0).astype(np.uint16)
    ok, data = cv2.imencode(".png", steps)
    if not ok:
        raise ValueError(f"cannot encode depth {depth.shape}")
    return data.tobytes()


def mp4(frames: Pixels, rate: int) -> bytes:
    """Frames [n, h, w, 3] (h and w even) as H.264 in mp4; the same bytes every time."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=_X264)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for k, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()
