"""The sink of `--save`: an annotated video or photographs, by file extension and source."""

from __future__ import annotations

from pathlib import Path

from edgeharfer.runtime.errors import ConfigError
from edgeharfer.runtime.sinks.base import Sink, SinkOptions
from edgeharfer.runtime.sinks.encoders import FORMATS
from edgeharfer.runtime.sinks.photos import PHOTO_SUFFIXES, PhotoSink, output_paths
from edgeharfer.runtime.sinks.timeline import FILE_GAP_S, LIVE_GAP_S
from edgeharfer.runtime.sinks.video import VideoSink


def make_sink(target: str, options: SinkOptions) -> Sink:
    """Create the sink for a file or folder.

    Raises:
        ConfigError: The target does not fit the source.
    """
    path, source = Path(target), options.source
    suffix, videos = path.suffix.lower(), ", ".join(FORMATS)
    if suffix in FORMATS:
        max_gap_s = LIVE_GAP_S if source.live else FILE_GAP_S
        return VideoSink(path, source.fps, max_gap_s=max_gap_s, stopping=options.stopping)
    if not source.paths:
        what = (
            f"only photographs can be saved as {suffix}" if suffix in PHOTO_SUFFIXES else "not a video file"
        )
        raise ConfigError(f"{path}: {what}; for a video, camera or stream, use the extension {videos}")
    if path.is_dir() or not suffix:
        return PhotoSink(output_paths(path, source.paths), source.paths, path)
    if suffix not in PHOTO_SUFFIXES:
        raise ConfigError(f"{path}: use the extension .jpg or .png for a photograph, or {videos} for a video")
    if len(source.paths) > 1:
        raise ConfigError(
            f"{path}: {source.name} contains {len(source.paths)} images; use a folder, "
            f"such as --save {path.with_suffix('')}"
        )
    return PhotoSink([path], source.paths)
