"""Make a virtual environment that holds edgeharfer and exactly what constraints.txt pins.

    python3 environment.py DIRECTORY EXTRA...                 the working tree, editable
    python3 environment.py --wheel FILE DIRECTORY EXTRA...    a built wheel

pip checks every download against the hashes in constraints.txt. Only pip is used, so that its own
configuration (index, proxy, certificates) holds here as well.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - told here instead of failing on the import below
    sys.exit(
        f"edgeharfer needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11"
    )

import tomllib

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"


def run(*command: str | Path) -> None:
    """Run a command; its failure ends this program with its own message."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(f"failed with exit code {code}: {' '.join(map(str, command))}")


def python_of(folder: Path) -> Path:
    """The interpreter of an environment, which is made anew if it is missing or does not start."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    works = python.exists() and not subprocess.run([python, "-c", "import pip"], check=False).returncode
    if not works:
        run(sys.executable, "-m", "venv", "--clear", folder)
    return python


def pinned(name: str) -> str:
    """The lines of constraints.txt that pin one distribution, hashes included."""
    entry = re.search(
        rf"^{re.escape(name)}==(?:.*\\\n)*.*\n", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE
    )
    if entry is None:
        sys.exit(f"constraints.txt does not pin {name}: run make constraints")
    return entry[0]


def requirements_of(wheel: Path | None, extras: list[str]) -> str:
    """What to install: a wheel, or all that the working tree needs to be built and to run."""
    if wheel:
        # With its own hash it passes hash checking, and its own metadata says what comes with it.
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return f"edgeharfer[{','.join(extras)}] @ {wheel.resolve().as_uri()} --hash=sha256:{digest}\n"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return "\n".join([*settings["build-system"]["requires"], *project["dependencies"], *optional]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, help="install this wheel instead of the working tree")
    parser.add_argument("directory", type=Path)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    options = parser.parse_args()
    print(f"Installing edgeharfer[{','.join(options.extras)}] in {options.directory} ...", flush=True)

    python = python_of(options.directory)
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        # pip takes hashes from a constraints file since 26.1; Python 3.11 comes with an older one.
        requirements.write_text(pinned("pip"))
        run(*pip, "-r", requirements)
        requirements.write_text(requirements_of(options.wheel, options.extras))
        run(*pip, "-c", CONSTRAINTS, "-r", requirements)
    if not options.wheel:
        run(*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT)


if __name__ == "__main__":
    main()
