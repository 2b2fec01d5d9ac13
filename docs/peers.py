"""Measure edgeharfer beside other libraries for docs/peers.md: python docs/peers.py

The libraries whose wheels contain their models are installed with uv, each in an environment of its own below
--environments, and run on the same faces and clips, each within a limit of processor time. A library that
fails is listed with the reason. The figures are stored in docs/benchmarks/peers.json, and the tables of the
page are written from that file; --page only writes the page. If a run is interrupted, the same command
continues it: until it is complete, its figures are in partial.json below --environments.

--data has `fer2013/fer2013-train-val.zip`, `fer2013/fer2013new.csv`, `faces-rare/<class>/` and `clips/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeharfer.evaluate.dataset import Dataset, LabelledFile, canonical
from edgeharfer.evaluate.ferplus import LABELS as FERPLUS_LABELS
from edgeharfer.evaluate.ferplus import majority, read_votes

HERE = Path(__file__).resolve().parent
PAGE, FIGURES = HERE / "peers.md", HERE / "benchmarks" / "peers.json"
BEGIN, END = "<!-- {} of docs/peers.py -->", "<!-- end -->"
OURS, EVERY_FRAME = "edgeharfer", "edgeharfer, every frame"
PACKAGES = ("emotion-fer8", "emotion-fer7")
Counts = NDArray[np.int64]
LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SETS = {"whole-fer2013": "FER-2013 labels", "whole-ferplus": "FER+ votes", "rare": "web photographs"}
UNSEEN = ("whole-fer2013", "whole-ferplus")
"""The sets that our packages were not trained on."""


REQUIREMENTS: Mapping[str, tuple[str, ...]] = {
    OURS: (f"{HERE.parent}[cpu]",),
    "fer": ("fer==25.10.3", "setuptools<81"),
    "facex": ("facex==1.1.0",),
    "facial-emotion-recognition": ("facial-emotion-recognition==0.3.4",),
}
"""Name of a library -> what is installed. Their packages contain the weights."""

DOWNLOADS: Mapping[str, str] = {
    **dict.fromkeys(
        ("deepface", "py-feat", "libreface", "rmn", "uniface", "emotiefflib", "hsemotion-onnx"),
        "downloads its weights when it is first used",
    ),
    "MediaPipe": "needs a model file that is downloaded separately (face blendshapes)",
}
"""Name of a library that cannot run without a network after installation -> the reason."""


def write_sets(data: Path, folder: Path, every: int) -> None:
    """Write every Nth picture of the three sets as <set>/<class>/<file>."""
    fer = Dataset(data / "fer2013" / "fer2013-train-val.zip")
    votes = read_votes(data / "fer2013" / "fer2013new.csv")
    trained = {hashlib.sha256(fer.read(sample)).digest() for sample in fer.split("train")}
    samples = [one for one in fer.split("val") if hashlib.sha256(fer.read(one)).digest() not in trained]
    rare = Dataset(data / "faces-rare")
    chosen = {
        "whole-fer2013": (fer, [(one, canonical(one.label)) for one in samples]),
        "whole-ferplus": (fer, list(_by_votes(samples, votes))),
        "rare": (rare, [(one, canonical(one.label)) for one in rare.split()]),
    }
    for name, (source, pairs) in chosen.items():
        for sample, label in [pair for pair in pairs if pair[1] in LABELS][::every]:
            (folder / name / label).mkdir(parents=True, exist_ok=True)
            (folder / name / label / sample.file).write_bytes(source.read(sample))


def _by_votes(
    samples: Sequence[LabelledFile], votes: Mapping[str, Any]
) -> Iterator[tuple[LabelledFile, str]]:
    for sample in samples:
        winner = majority(votes[sample.file]) if sample.file in votes else None
        if winner is not None:
            yield sample, FERPLUS_LABELS[winner]


def install(name: str, folder: Path) -> Path:
    """Install a library in its own environment; return that environment's Python."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        sys.exit("uv is not installed: pip install uv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--reinstall-package", OURS]
    command += ["--python", python]
    if subprocess.run([*command, *REQUIREMENTS[name]], check=False).returncode:
        raise PeerError("it cannot be installed here")
    return python


def installed_mib(folder: Path) -> float:
    """Size of the packages in an environment."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc") / 2**20


def measure(python: Path, system: str, *arguments: str | Path) -> dict[str, Any]:
    """Run docs/peer_process.py, and return its JSON object; a library that fails raises PeerError."""
    command: list[str | Path] = [python, HERE / "peer_process.py", system, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise PeerError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return dict(json.loads(done.stdout.splitlines()[-1]))


class PeerError(Exception):
    """A library could not be installed or run; the text is the reason."""


def evaluate(python: Path, package: str, folder: Path, scratch: Path) -> dict[str, Any]:
    """Accuracy of one of our packages on a set, by `edgeharfer evaluate`."""
    path = scratch / "metrics.json"
    command: list[str | Path] = [python, "-m", "edgeharfer", "evaluate", package]
    command += ["--data", folder, "--json", path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    metrics = json.loads(path.read_text(encoding="utf-8"))
    return accuracy(np.array(metrics["confusion"]))


def accuracy(confusion: Counts) -> dict[str, Any]:
    """Share of right labels, and mean recall of the classes that have pictures."""
    sizes = confusion.sum(axis=1)
    recalls = confusion.diagonal()[sizes > 0] / sizes[sizes > 0]
    return {
        "n": int(sizes.sum()),
        "top1": float(confusion.trace() / sizes.sum()),
        "recall": float(recalls.mean()),
    }


def table_of(counts: Mapping[str, Mapping[str, int]]) -> Counts:
    """Counts by class and label as a matrix; a label that we do not have is an error."""
    unknown = {label for row in counts.values() for label in row} - set(LABELS)
    assert not unknown, f"unknown labels: {unknown}"
    return np.array([[counts.get(truth, {}).get(label, 0) for label in LABELS] for truth in LABELS])


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the libraries on the same files, or continue a measurement that was interrupted.

    Returns:
        Machine, settings, the figures of each system, and the reason for each library that failed.
    """
    settings = {"every": options.every, "frames": options.frames, "limit_s": options.limit_s}
    partial = options.environments / "partial.json"
    figures: dict[str, Any] = {"machine": machine(), "settings": settings, "systems": {}, "failed": {}}
    if partial.exists():
        earlier = json.loads(partial.read_text(encoding="utf-8"))
        figures = earlier if earlier["settings"] == settings else figures
    with tempfile.TemporaryDirectory() as scratch:
        write_sets(options.data, Path(scratch, "sets"), options.every)
        for name in REQUIREMENTS:
            if name in figures["systems"] or name in figures["failed"]:
                continue
            print(f"{name} ...", flush=True)
            try:
                figures["systems"] |= measure_one(name, options, Path(scratch))
            except PeerError as error:
                print(f"{name}: {error}", flush=True)
                figures["failed"][name] = str(error)
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(figures), encoding="utf-8")
    partial.unlink()
    return figures


def measure_one(name: str, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure one library, and with ours also the packages and every frame: figures by system."""
    clips = sorted(path for path in (options.data / "clips").iterdir() if path.is_file())
    sets, limits = scratch / "sets", (str(options.frames), str(options.limit_s))
    python = install(name, options.environments / name)
    measured = measure(python, name, sets, *limits, *clips)
    found = {one: accuracy(table_of(set_["counts"])) for one, set_ in measured["sets"].items() if set_}
    size = installed_mib(options.environments / name)
    systems = {
        name: {"clips": measured["clips"], "installed_mib": size, "finished": measured["finished"], **found}
    }
    if name == OURS:
        systems[EVERY_FRAME] = {"clips": measure(python, EVERY_FRAME, sets, *limits, *clips)["clips"]}
        for package in PACKAGES:
            systems[package] = {one: evaluate(python, package, sets / one, scratch) for one in UNSEEN}
    return systems


def machine() -> dict[str, Any]:
    """Date and machine of a run."""
    return {"date": date.today().isoformat(), "cores": os.cpu_count(), "architecture": platform.machine()}


def faces_table(figures: Mapping[str, Any]) -> list[str]:
    """The table of accuracies; a set that was not used or not finished has a dash."""
    systems = figures["systems"]
    rows = [name for name in systems if any(one in systems[name] for one in SETS)]
    counts = (next(one[name]["n"] for one in systems.values() if name in one) for name in SETS)
    sizes = [f"{text}, n = {count:,}" for text, count in zip(SETS.values(), counts, strict=True)]
    lines = [f"| | {' | '.join(sizes)} |", "|---" * 4 + "|"]
    for name in rows:
        cells = [percentages(systems[name].get(one)) for one in SETS]
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return lines


def percentages(found: Mapping[str, float] | None) -> str:
    """Accuracy and mean recall of a set as a cell."""
    return f"{100 * found['top1']:.1f} % ({100 * found['recall']:.1f} %)" if found else "–"


def clips_table(figures: Mapping[str, Any]) -> list[str]:
    """The table of costs."""
    systems = figures["systems"]
    lines = [
        "| | frames with a face | CPU ms a frame | x ours | CPU s to start | memory | installed |",
        "|---" * 7 + "|",
    ]
    ours_s = per_frame_s(systems[OURS]["clips"])
    for name in (OURS, EVERY_FRAME, *(name for name in REQUIREMENTS if name != OURS)):
        if name not in systems:
            continue
        one = systems[name]["clips"]
        size = systems[name].get("installed_mib")
        cells = [
            f"{one['with_face']} of {one['frames']}",
            f"{per_frame_s(one) * 1e3:.2f}",
            f"{per_frame_s(one) / ours_s:.1f}",
            f"{one['start_cpu_s']:.1f}",
            f"{one['peak_mib']:.0f} MiB",
            f"{size:,.0f} MiB" if size else "the same",
        ]
        lines.append(f"| {title(name)} | {' | '.join(cells)} |")
    return lines


def per_frame_s(clips: Mapping[str, float]) -> float:
    """Processor time of a frame."""
    return clips["cpu_s"] / clips["frames"]


def unmeasured_table(figures: Mapping[str, Any]) -> list[str]:
    """The libraries that have no figures, or not all, each with the reason."""
    reasons = dict(DOWNLOADS) | figures["failed"]
    for name, system in figures["systems"].items():
        if not system.get("finished", True):
            reasons[name] = f"was stopped after {figures['settings']['limit_s']:,} s of processor time"
    rows = [
        f"| {title(name) if name in REQUIREMENTS else code(name)} | {reason} |"
        for name, reason in reasons.items()
    ]
    return ["| library | why |", "|---|---|", *rows]


def code(name: str) -> str:
    """The name of a package as code; MediaPipe is a product's name."""
    return f"`{name}`" if name.islower() else name


def title(name: str) -> str:
    """The name of a row, with the version of a library."""
    version = "".join(re.findall(r"==(\S+)", REQUIREMENTS.get(name, ("",))[0]))
    package, _, rest = name.partition(", ")
    return f"`{package}`{f' {version}' if version else ''}{f', {rest}' if rest else ''}"


def samples(figures: Mapping[str, Any]) -> list[str]:
    """How many pictures and frames were used, and where."""
    host, settings = figures["machine"], figures["settings"]
    share = "Every picture" if settings["every"] == 1 else f"One picture in {settings['every']}"
    return [
        f"{host['date']}, {host['cores']} cores ({host['architecture']}). {share} of each set was used,",
        f"and the first {settings['frames']} frames of each clip.",
    ]


def page(text: str, figures: Mapping[str, Any]) -> str:
    """The text of the page with the tables of these figures."""
    for name, lines in {
        "machine": samples(figures),
        "faces": faces_table(figures),
        "clips": clips_table(figures),
        "unmeasured": unmeasured_table(figures),
    }.items():
        body = "\n".join([BEGIN.format(name), "", *lines, "", END])
        text = re.sub(f"{re.escape(BEGIN.format(name))}.*?{END}", lambda _: body, text, flags=re.DOTALL)  # noqa: B023
    return text


def main() -> None:
    """Measure all libraries, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data", metavar="DIR")
    parser.add_argument("--environments", type=Path, default=Path(".venv-peers"), metavar="DIR")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every Nth picture only")
    parser.add_argument("--frames", type=int, default=1000, metavar="N", help="at most N frames of each clip")
    parser.add_argument(
        "--limit-s", type=int, default=1800, metavar="S", help="at most S seconds of processor time a library"
    )
    parser.add_argument("--page", action="store_true", help="only write the page")
    options = parser.parse_args()
    if not options.page:
        FIGURES.write_text(json.dumps(measure_all(options), indent=1) + "\n", encoding="utf-8")
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
