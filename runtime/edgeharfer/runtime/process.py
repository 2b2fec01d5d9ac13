"""Settings of a process that runs one pipeline."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def pipeline_process() -> Iterator[None]:
    """Save processor time while a pipeline runs, once everything is loaded.

    - OpenCV uses one thread: the pictures are so small that its threads would mostly wait for work, actively.
    - The garbage collector does not examine the objects that exist already, most of which are modules.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        cv2.setNumThreads(threads)
