"""Compare how images are decoded with Pillow, for docs/reliability.md.

python docs/images.py DIR [--list]

Measured on Tests/images of Pillow's source distribution. Files of the formats that edgeharfer reads are
compared, by their content or suffix. An image agrees if both read the same pixels (at most 2 of 255 apart)
or both refuse it. Pillow clips grey of more than 8 bits when it converts it to RGB, and edgeharfer scales
it, so these images are counted apart.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from edgeharfer.runtime.errors import SourceError
from edgeharfer.runtime.source.decode import decode_image
from edgeharfer.runtime.source.image_format import IMAGE_SUFFIXES, image_format
from edgeharfer.runtime.types import Image as Pixels

LARGEST_DIFFERENCE = 2
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


def read_pillow(path: Path) -> tuple[Pixels | None, str]:
    """The pixels as uint8 BGR and the mode, or None and the error."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[:, :, ::-1], image.mode
    except Exception as error:  # whatever Pillow raises is a refusal
        return None, str(error)


def read_edgeharfer(path: Path) -> tuple[Pixels | None, str]:
    """The pixels as uint8 BGR, or None and the error."""
    try:
        return decode_image(path.read_bytes(), path.name), ""
    except SourceError as error:
        return None, str(error)


def compare(path: Path) -> tuple[str, str]:
    """How a file is read: "agree", "deep" (more than 8 bits) or "differ"; and the difference in words."""
    expected, mode = read_pillow(path)
    found, reason = read_edgeharfer(path)
    if expected is None or found is None:
        agrees = expected is None and found is None
        return "agree" if agrees else "differ", f"Pillow: {mode}; edgeharfer: {reason or found is not None}"
    if expected.shape != found.shape:
        return "differ", f"{mode} {expected.shape} {found.shape}"
    difference = int(np.abs(expected.astype(int) - found).max())
    if difference <= LARGEST_DIFFERENCE:
        return "agree", ""
    deep = mode.startswith("I") or mode == "F"
    return "deep" if deep else "differ", f"{mode}, at most {difference} of 255 apart"


def main() -> None:
    """Print the share of files that agree, and the others."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--list", action="store_true", help="list the images that differ")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    for path in sorted(options.folder.rglob("*")):
        if not path.is_file() or not (
            path.suffix.lower() in IMAGE_SUFFIXES or image_format(path.read_bytes()[:4096])
        ):
            continue
        outcome, detail = compare(path)
        counts[outcome] += 1
        if options.list and outcome != "agree":
            print(f"{outcome}: {path.relative_to(options.folder)}: {detail}")
    total = counts.total()
    print(f"{counts['agree']} of {total} agree ({counts['agree'] / max(1, total):.1%}),", end=" ")
    print(f"{counts['deep']} have more than 8 bits, {counts['differ']} differ")


if __name__ == "__main__":
    main()
