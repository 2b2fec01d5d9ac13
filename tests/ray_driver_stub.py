"""Stands in for `ray_driver`: the file "script" in the folder `work` says what each start of it does.

Each line is for one start, the last one also for later starts. Its words are for one task each: "done" gives
an outcome, "die" ends the process, "lost" says that Ray was lost, and "hang" does nothing for ever.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from edgeharfer.report.worker_io import MessageWriter, read_lines, serve_parent


def serve(descriptor: int, writer: MessageWriter) -> None:
    """Follow the script, and write the names of the tasks of each start to a file "start-N".

    The folder for Ray, and whether there is one, is a line of the file "folders".
    """
    lines = read_lines(descriptor)
    options = json.loads(next(lines))
    folder = Path(options["work"])
    with (folder / "folders").open("a") as used:
        used.write(f"{Path(options['folder']).is_dir()} {options['folder']}\n")
    script = (folder / "script").read_text().splitlines()
    number = len(list(folder.glob("start-*")))
    names: list[str] = []
    for word in script[min(number, len(script) - 1)].split():
        writer.send({"next": True})
        task = json.loads(next(lines))
        if task is None:
            writer.send({"end": True})
            return
        names.append(task["input"]["name"])
        (folder / f"start-{number}").write_text(" ".join(names))
        if word == "die":
            os._exit(1)
        while word == "hang":
            time.sleep(1)
        if word == "lost":
            writer.send({"lost": "Ray: no room"})
            return
        writer.send({"outcome": {"place": task["input"]["place"], "name": names[-1], "folder": "x"}})


if __name__ == "__main__":
    serve_parent(serve)
