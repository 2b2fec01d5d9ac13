"""Where results go: a window, an annotated video, JSON lines, a file of statistics."""

from __future__ import annotations

from edgeharfer.runtime.sinks.base import Sink
from edgeharfer.runtime.sinks.display import display_available, window_lack
from edgeharfer.runtime.sinks.events import EventsSink, summary_to_dict
from edgeharfer.runtime.sinks.stats_file import StatsFileSink
from edgeharfer.runtime.sinks.video import VideoSink
from edgeharfer.runtime.sinks.window import WindowSink

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
