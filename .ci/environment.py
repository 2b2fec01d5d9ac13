"""Make a virtual environment that holds edgeharfer and exactly what constraints.txt pins.

    python3 environment.py DIRECTORY EXTRA...                 the working tree, editable
    python3 environment.py --wheel FILE DIRECTORY EXTRA...    a built wheel

pip checks every download against the hashes in constraints.txt; with Python 3.10, where only a wheel can be
installed, in constraints-3.10.txt. Only pip is used, so that its own configuration (index, proxy,
certificates) holds here as well. Where the system lacks the libraries that opencv-python loads (a container,
a server), opencv-python-headless of the same version takes its place.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / ("constraints.txt" if sys.version_info >= (3, 11) else "constraints-3.10.txt")
INPUTS = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))
"""What an environment is made from, beside its extras."""

WINDOWED, HEADLESS = "opencv-python", "opencv-python-headless"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, help="install this wheel instead of the working tree")
    parser.add_argument("--headless", action="store_true", help="take OpenCV without windows")
    parser.add_argument("directory", type=Path)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    options = parser.parse_args()
    make(options.directory, options.extras, headless=options.headless, wheel=options.wheel)


def ensure(folder: Path, extras: Sequence[str], *, headless: bool) -> None:
    """Make the environment, unless it was made of just this before."""
    stamp = folder / "installed"
    wanted = hashlib.sha256(repr((sys.version, headless, sorted(extras))).encode())
    for file in INPUTS:
        wanted.update(file.read_bytes())
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted.hexdigest():
        return
    make(folder, extras, headless=headless)
    stamp.write_text(wanted.hexdigest(), encoding="utf-8")


def make(folder: Path, extras: Sequence[str], *, headless: bool, wheel: Path | None = None) -> None:
    """Install edgeharfer with these extras into the environment in `folder`."""
    print(f"Installing edgeharfer[{','.join(extras)}] in {folder} ...", flush=True)
    if headless:
        print(f"System libraries of {WINDOWED} are missing: using {HEADLESS}, without windows.", flush=True)
    python = make_python(folder)
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check")
    if not headless:
        # Both builds are the folder `cv2`, so the one goes before the other comes.
        run(*pip, "-qq", "uninstall", "--yes", HEADLESS)
    # pip takes hashes from a constraints file since 26.1; Python 3.11 comes with an older one.
    install(pip, pinned("pip"))
    if wheel:  # pip would keep a wheel of the same version
        run(*pip, "-qq", "uninstall", "--yes", "edgeharfer")
    install(pip, requirements_of(wheel, extras), "-c", CONSTRAINTS)
    if not wheel:
        run(*pip, "install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    if headless:
        run(*pip, "-qq", "uninstall", "--yes", WINDOWED, HEADLESS)
        install(pip, pinned(HEADLESS), "--no-deps")
    run(python, "-c", "import cv2")


def install(pip: Sequence[str | Path], requirements: str, *options: str | Path) -> None:
    """Let pip install these lines of a requirements file."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "requirements.txt")
        file.write_text(requirements, encoding="utf-8")
        run(*pip, "install", *options, "-r", file)


def run(*command: str | Path) -> None:
    """Run a command; its failure ends this program with its own message."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(f"failed with exit code {code}: {' '.join(map(str, command))}")


def programs(folder: Path) -> Path:
    """The folder of an environment's programs."""
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def make_python(folder: Path) -> Path:
    """The Python of an environment, which is created if it is missing or does not start."""
    python = programs(folder) / ("python.exe" if sys.platform == "win32" else "python")
    works = python.exists() and not subprocess.run([python, "-c", "import pip"], check=False).returncode
    if not works:
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=False).returncode
        if made:
            sys.exit(
                "This Python has no working venv module. On Debian and Ubuntu: apt-get install "
                f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            )
    return python


def pinned(name: str) -> str:
    """The lines that pin one distribution, hashes included."""
    entry = re.search(
        rf"^{re.escape(name)}==(?:.*\\\n)*.*\n", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE
    )
    if entry is None:
        sys.exit(f"{CONSTRAINTS.name} does not pin {name}: run make constraints")
    return entry[0]


def requirements_of(wheel: Path | None, extras: Sequence[str]) -> str:
    """What to install: a wheel, or all that the working tree needs to be built and to run."""
    if wheel:
        # With its own hash it passes hash checking, and its own metadata says what comes with it.
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return f"edgeharfer[{','.join(extras)}] @ {wheel.resolve().as_uri()} --hash=sha256:{digest}\n"
    import tomllib  # not in Python 3.10

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return "\n".join([*settings["build-system"]["requires"], *project["dependencies"], *optional]) + "\n"


if __name__ == "__main__":
    main()
