"""What tests of drives share: an arc with known answers, rows to spoil, motions by picture, and how far pictures slide."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from embodied_ssl.datasets.source import Source

RADIUS = 6378137.0


def arc_rows(frames: int = 11) -> np.ndarray:
    """Oxts of an arc at 10 Hz, 10 m/s and 0.2 rad/s to the left, from heading 3.0 rad so that the yaw wraps around."""
    time = np.arange(frames) / 10
    heading = 3.0 + 0.2 * time
    east, north = 50 * (np.sin(heading) - np.sin(3.0)), -50 * (np.cos(heading) - np.cos(3.0))
    scale = np.cos(np.radians(49.011))
    mercator = RADIUS * scale * np.log(np.tan(np.pi * (90 + 49.011) / 360)) + north
    rows = np.zeros((frames, 30))
    rows[:, 0] = 360 / np.pi * np.arctan(np.exp(mercator / (RADIUS * scale))) - 90
    rows[:, 1] = 8.43 + east / (scale * RADIUS) * 180 / np.pi
    rows[:, 2] = 116.0
    rows[:, 5] = (heading + np.pi) % (2 * np.pi) - np.pi
    rows[:, 8], rows[:, 22] = 10.0, 0.2
    return rows


def motions(source: Source, recording: str = "") -> dict[str, np.ndarray]:
    """The motion to the next frame, by the picture's name; of one recording, or of the only one."""
    chosen = [source[i] for i in range(len(source)) if recording in ("", source.recordings[i])]
    return {sample["frames"].files[sample["frame"]]: sample["motions"][0] for sample in chosen}


def slides(source: Source, count: int) -> list[float]:
    """How far the picture's content moves to the right from each frame to the next, in pixels, by phase correlation."""
    found = []
    for index in range(count):
        sample = source[index]
        pair = sample["frames"].take([sample["frame"], sample["later"][0]]).astype(np.float32).mean(-1)
        upper = pair[:, : pair.shape[1] * 2 // 3]
        window = cv2.createHanningWindow(upper.shape[:0:-1], cv2.CV_32F)
        found.append(cv2.phaseCorrelate(upper[0], upper[1], window)[0][0])
    return found


def spoil_oxts(drive: Path, number: int, text: str) -> Path:
    """Write another row of oxts for one frame; gives its file."""
    path = drive / "oxts" / "data" / f"{number:010d}.txt"
    path.write_text(text)
    return path


def stamp(seconds: float) -> str:
    """A line of a ``timestamps.txt``."""
    return f"2011-09-26 13:02:{seconds:012.9f}"
