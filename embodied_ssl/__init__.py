"""Visual features without labels: from pictures, egocentric video, the camera's own motion, and what a robot touches."""

__version__ = "0.1.0"
