"""A section of figures over the whole width of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from embodied_ssl.report.figures import Image
from embodied_ssl.report.report import _figure, _paragraph

DPI = 120  # a sheet 12 inches wide then fills the page on a screen of double density


class Drawn(NamedTuple):
    """A figure, its caption, and a description for who cannot see it."""

    figure: Figure
    caption: str
    alternative: str

    def html(self) -> str:
        return _figure(rendered(self.figure), self.caption, self.alternative)


@dataclass(frozen=True)
class Drawings:
    """What is shown and how to read it, further lines one below the other, then the figures."""

    title: str
    drawn: Sequence[Drawn]
    note: str = ""
    lines: Sequence[str] = field(default=())

    def html(self) -> str:
        listed = "".join(f"<li>{escape(line)}</li>" for line in self.lines)
        return _paragraph(self.note) + (f"<ul>{listed}</ul>" if listed else "") + "".join(one.html() for one in self.drawn)


def rendered(figure: Figure, dpi: int = DPI) -> Image:
    """A figure as pixels: uint8 RGB [H, W, 3]. As pixels, the report shows it at its own width."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba(), np.uint8)  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(pixels[..., :3])
