"""Leaves out the decoding of frames that nobody wants and that no other frame refers to."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import count

import av
from av.video.stream import VideoStream

from edgeharfer.runtime.source.nonreference import MOTION_JPEG, non_reference_test

# More frames than any codec reorders: the times of the file are wrong.
_MAX_WAITING = 64
# Within a scene the size of a JPEG changes by 0.3 to 1 % from frame to frame, and seldom by more than 3 %.
_MAX_SIZE_CHANGE = 0.03


class FrameSkipper:
    """Decides which packets are not decoded, and puts their places back into the order of presentation.

    A decoder returns frames in order, but it knows nothing about packets that it was not given. So everything
    waits until no earlier frame can follow: until all packets with an earlier time were read, which their
    decoding times tell, and until the decoder has returned the earlier frames that it was given. In files
    whose times are missing or go back, and in interlaced video, all frames are decoded from then on.

    Encoders place a key frame where a scene begins, and at regular distances. A key frame that follows the
    one before at the same distance as that one did is announced as an ordinary frame. Every frame of a motion
    JPEG is a key frame: there, those count whose size differs from that of the frame before.

    Attributes:
        wanted: Called with the time of a frame that no other refers to. None: all frames are decoded.
        announce: Called with the time of each frame, and whether a new scene may begin with it.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The configuration record of the codec.
        time_of: Returns the source time in seconds of a time stamp, None before the first frame.
    """

    def __init__(self, codec: str, extradata: bytes, time_of: Callable[[int], float | None]) -> None:
        self.wanted: Callable[[float], bool] | None = None
        self.announce: Callable[[float, bool], None] | None = None
        self._is_non_reference = non_reference_test(codec, extradata)
        self._time_of = time_of
        self._is_jpeg, self._last_size = codec == MOTION_JPEG, 0
        self._since_key = self._key_distance = 0
        self._last_dts: int | None = None
        self._in_decoder: set[int] = set()
        self._waiting: list[tuple[int, int, av.VideoFrame | None]] = []
        self._numbers = count()

    def leaves_out(self, packet: av.Packet[VideoStream]) -> bool:
        """Return whether a packet need not be decoded. Call it for every packet, in order."""
        if self._is_non_reference is None:
            return False
        pts, dts = packet.pts, packet.dts
        if pts is None or (dts is not None and self._last_dts is not None and dts < self._last_dts):
            self.stop()
            return False
        # Matroska has no decoding times for the first packets.
        self._last_dts = self._last_dts if dts is None else dts
        time_s = None if self.wanted is None else self._time_of(pts)
        key = self._may_begin_scene(packet)
        if self.announce is not None and time_s is not None:
            self.announce(time_s, key)
        known = dts is not None and self.wanted is not None
        if known and not key and self._can_be_left_out(packet, time_s):
            heapq.heappush(self._waiting, (pts, next(self._numbers), None))
            return True
        self._in_decoder.add(pts)
        return False

    def _may_begin_scene(self, packet: av.Packet[VideoStream]) -> bool:
        if self._is_jpeg:
            change, self._last_size = abs(packet.size - self._last_size), packet.size
            return change > _MAX_SIZE_CHANGE * packet.size
        self._since_key += 1
        if not packet.is_keyframe:
            return False
        regular = self._since_key == self._key_distance
        self._key_distance, self._since_key = self._since_key, 0
        return not regular

    def _can_be_left_out(self, packet: av.Packet[VideoStream], time_s: float | None) -> bool:
        assert self._is_non_reference is not None and self.wanted is not None
        if time_s is None or time_s <= 0 or packet.is_corrupt or packet.is_discard:
            return False
        return self._is_non_reference(bytes(packet)) and not self.wanted(time_s)

    def stop(self) -> None:
        """Decode all frames from now on."""
        self._is_non_reference = None
        self._in_decoder.clear()

    def in_order(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame | int]:
        """Yield what can be shown after a packet was read: frames, and the times of those left out.

        Args:
            frames: The frames that the decoder returned for the packet.
        """
        for frame in frames:
            if frame.interlaced_frame or frame.pts is None:
                self.stop()
            if self._is_non_reference is None or frame.pts is None:
                yield from self.rest()
                yield frame
                continue
            self._in_decoder = {pts for pts in self._in_decoder if pts > frame.pts}
            heapq.heappush(self._waiting, (frame.pts, next(self._numbers), frame))
        if self._is_non_reference is None or len(self._waiting) > _MAX_WAITING:
            yield from self.rest()
        while self._waiting and self._is_next(self._waiting[0][0]):
            yield self._pop()

    def rest(self) -> Iterator[av.VideoFrame | int]:
        """Yield everything that waits; call it at the end."""
        while self._waiting:
            yield self._pop()

    def _is_next(self, pts: int) -> bool:
        """Return whether nothing with an earlier time can follow."""
        if self.wanted is None and all(frame is not None for _, _, frame in self._waiting):
            return True  # nothing is left out, so the order of the decoder is right
        read = self._last_dts is not None and pts <= self._last_dts
        return read and all(pts < other for other in self._in_decoder)

    def _pop(self) -> av.VideoFrame | int:
        pts, _, frame = heapq.heappop(self._waiting)
        return pts if frame is None else frame
