"""Recognises compressed frames that no other frame refers to, so that they need not be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

MOTION_JPEG = "mjpeg"
_START_CODE = b"\0\0\1"
_H264_SLICES = frozenset({1, 2, 5})
_HEVC_SLICES = range(32)
_HEVC_SPS = 33
# TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N and the reserved types between them (Rec. ITU-T H.265, table 7-1).
_HEVC_NON_REFERENCE = range(0, 16, 2)
_MPEG_PICTURE, _MPEG_B = 0x00, 3
_MPEG4_VOP, _MPEG4_B = 0xB6, 2


def non_reference_test(codec: str, extradata: bytes) -> Callable[[bytes], bool] | None:
    """Return a function that tells whether a packet holds a single frame that no other frame refers to.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The configuration record of the codec, from the container.

    Returns:
        None for codecs without such frames, and those whose packets do not show them without much parsing.
    """
    make = _TESTS.get(codec)
    return None if make is None else make(extradata)


def _h264_test(extradata: bytes) -> Callable[[bytes], bool]:
    """nal_ref_idc is 0 in all slices (Rec. ITU-T H.264, 7.4.1)."""
    # AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1.2).
    prefix = (extradata[4] & 3) + 1 if len(extradata) > 6 and extradata[0] == 1 else 0

    def test(data: bytes) -> bool:
        slices = [unit[0] for unit in _units(data, prefix) if unit[0] & 0x1F in _H264_SLICES]
        return bool(slices) and not any(header & 0x60 for header in slices)

    return test


def _hevc_test(extradata: bytes) -> Callable[[bytes], bool]:
    """All slices are of a non-reference type, and in the highest temporal sub-layer."""
    # HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1.2), or parameter sets after start codes.
    if len(extradata) > 22 and extradata[0] == 1:
        prefix, layers = (extradata[21] & 3) + 1, extradata[21] >> 3 & 7
    else:
        sets = [unit for unit in _units(extradata, 0) if len(unit) > 2 and _hevc_kind(unit) == _HEVC_SPS]
        prefix, layers = 0, max(((unit[2] >> 1 & 7) + 1 for unit in sets), default=0)

    def test(data: bytes) -> bool:
        slices = [unit for unit in _units(data, prefix) if _hevc_kind(unit) in _HEVC_SLICES]
        # The last three bits are nuh_temporal_id_plus1.
        return bool(slices) and all(
            _hevc_kind(unit) in _HEVC_NON_REFERENCE and unit[1] & 7 == layers for unit in slices
        )

    return test


def _hevc_kind(unit: bytes) -> int:
    return unit[0] >> 1 & 0x3F


def _mpeg_test(extradata: bytes) -> Callable[[bytes], bool]:
    """All pictures of the packet are B-pictures: picture_coding_type of ISO/IEC 13818-2, 6.2.3."""

    def test(data: bytes) -> bool:
        kinds = [unit[2] >> 3 & 7 for unit in _units(data, 0) if len(unit) > 2 and unit[0] == _MPEG_PICTURE]
        return bool(kinds) and all(kind == _MPEG_B for kind in kinds)

    return test


def _mpeg4_test(extradata: bytes) -> Callable[[bytes], bool]:
    """The only video object plane is a B-VOP (ISO/IEC 14496-2, 6.2.5); a packet of DivX may hold two."""

    def test(data: bytes) -> bool:
        kinds = [unit[1] >> 6 for unit in _units(data, 0) if len(unit) > 1 and unit[0] == _MPEG4_VOP]
        return kinds == [_MPEG4_B]

    return test


def _mjpeg_test(extradata: bytes) -> Callable[[bytes], bool]:
    """Every frame is a picture of its own."""
    return bool


_TESTS: Mapping[str, Callable[[bytes], Callable[[bytes], bool]]] = {
    "h264": _h264_test,
    "hevc": _hevc_test,
    MOTION_JPEG: _mjpeg_test,
    "mpeg1video": _mpeg_test,
    "mpeg2video": _mpeg_test,
    "mpeg4": _mpeg4_test,
}


def _units(data: bytes, prefix: int) -> Iterator[bytes]:
    """Yield the first bytes of each unit: after a length of `prefix` bytes, or after a start code if 0."""
    if prefix == 0:
        at = data.find(_START_CODE)
        while at >= 0 and at + 5 <= len(data):
            yield data[at + 3 : at + 7]
            at = data.find(_START_CODE, at + 3)
        return
    at = 0
    while at + prefix + 2 <= len(data):
        length = int.from_bytes(data[at : at + prefix], "big")
        yield data[at + prefix : at + prefix + 4]
        at += prefix + length
