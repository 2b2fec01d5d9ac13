"""Where results go: a window, an annotated video, JSON lines, a file of statistics."""

from __future__ import annotations

from .base import Sink
from .display import display_available, window_lack
from .events import EventsSink, summary_to_dict
from .stats_file import StatsFileSink
from .video import VideoSink
from .window import WindowSink

__all__ = [
    "EventsSink",
    "Sink",
    "StatsFileSink",
    "VideoSink",
    "WindowSink",
    "display_available",
    "summary_to_dict",
    "window_lack",
]
