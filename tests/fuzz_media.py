"""Videos and images of many formats for the fuzzer, and damage that their readers find hard."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from edgeharfer.runtime.types import Image
from fuzz_mutate import mutate_bytes
from media_clips import encode_clip

FRAMES = 12
QUIET_X265 = {"x265-params": "log-level=none:bframes=3:keyint=6"}
VIDEOS: dict[str, dict[str, Any]] = {
    "bframes.mp4": {"options": {"bf": "3", "b_strategy": "0", "g": "6"}},
    "turned.mov": {"matrix": (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)},
    "interlaced.ts": {"fields": "tff", "options": {"x264-params": "interlaced=1"}},
    "ten_bit.mkv": {"pixel_format": "yuv420p10le"},
    "bare.h264": {"options": {"g": "6"}},
    "hevc.mkv": {"codec": "libx265", "options": QUIET_X265},
    "av1.mp4": {"codec": "libsvtav1"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "6"}},
    "mpeg4.avi": {"codec": "mpeg4"},
    "prores.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le"},
    "ffv1.nut": {"codec": "ffv1", "pixel_format": "gray16le"},
    "flash.flv": {"codec": "flv1"},
    "windows.wmv": {"codec": "wmv2"},
}
"""Arguments of `encode_clip` by name of the file."""
IMAGES: dict[str, dict[str, Any]] = {
    "progressive.jpg": {"progressive": True},
    "palette.png": {"convert": "P"},
    "one_bit.tiff": {"convert": "1", "compression": "group4"},
    "float.tiff": {"convert": "F"},
    "lossless.webp": {"lossless": True},
    "small.avif": {},
    "moving.gif": {"animated": True},
    "moving.webp": {"animated": True},
    "moving.png": {"animated": True},
}
"""Arguments of Pillow's `save` by name of the file."""


def media_seeds(folder: Path) -> list[Path]:
    """Good videos and images in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [_picture(number) for number in range(FRAMES)]
    videos = [encode_clip(folder / name, pictures, **settings) for name, settings in VIDEOS.items()]
    return [*videos, *(_save_image(folder / name, pictures, **how) for name, how in IMAGES.items())]


def damaged_media(seeds: Sequence[Path], chance: random.Random, folder: Path) -> Path:
    """A damaged copy of one of the files: bytes changed, cut or random, or two files joined."""
    seed = chance.choice(seeds)
    data = seed.read_bytes()
    what = chance.randrange(8)
    if what == 0:
        data = data[: chance.randrange(len(data) + 1)]
    elif what == 1:
        at = chance.randrange(len(data) + 1)
        data = data[:at] + chance.randbytes(len(data) - at)
    elif what == 2:
        other = chance.choice(seeds).read_bytes()
        data = data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]
    elif what == 3:
        changed = bytearray(data)
        for _ in range(chance.randint(1, 200)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        data = bytes(changed)
    else:
        data = mutate_bytes(data, chance)
    target = folder / f"damaged{chance.choice([seed.suffix] * 9 + ['.mp4'])}"
    target.write_bytes(data)
    return target


def _picture(number: int) -> Image:
    y, x = np.mgrid[0:48, 0:64]
    return np.dstack([x * 4 + number, y * 5, (x ^ y) + 3 * number]).astype(np.uint8)


def _save_image(
    path: Path, pictures: list[Image], *, convert: str = "RGB", animated: bool = False, **how: Any
) -> Path:
    first, *others = (PillowImage.fromarray(picture).convert(convert) for picture in pictures[:4])
    if animated:
        how = {"save_all": True, "append_images": others, "duration": 40}
    first.save(path, **how)
    return path
