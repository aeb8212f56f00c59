"""One PNG of captioned rows of pictures: what was asked, and what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from embodied_ssl.core import Panel
from embodied_ssl.files import atomic
from embodied_ssl.report.figures import Image, contact_sheet, png


def write_sheet(path: Path, panels: Sequence[Panel], answers: Sequence[Panel] = ()) -> None:
    """Write rows of pictures, each below its caption, as one PNG; answers below those that were asked, under a heading."""
    rows = [row for panel in panels for row in _captioned(panel)]
    if answers:
        rows.append(_line("What the network answers, about recordings it was never trained on", 0.55, (0, 0, 0), 34))
        rows += [row for panel in answers for row in _captioned(panel)]
    width = max(row.shape[1] for row in rows)
    data = png(np.concatenate([np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]))
    with atomic(path) as file:
        file.write(data)


def _captioned(panel: Panel) -> list[Image]:
    return [_line(panel[0], 0.42, (40, 40, 40), 20), contact_sheet([panel])]


def _line(text: str, size: float, colour: tuple[int, int, int], height: int) -> Image:
    """Dark text on white: uint8 [height, as wide as the text, 3]."""
    width = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] + 8
    line = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(line, text, (4, height - 6), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
    return line
