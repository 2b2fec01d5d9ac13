"""Make a virtual environment that holds edgeharfer and exactly what constraints.txt pins.

    python3 environment.py DIRECTORY EXTRA…             the working tree, editable
    python3 environment.py --wheel FILE DIRECTORY EXTRA…    a built wheel

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

if sys.version_info < (3, 11):
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
    entry = re.search(rf"^{re.escape(name)}==(?:.*\\\n)*.*\n", CONSTRAINTS.read_text(), re.MULTILINE)
    if entry is None:
        sys.exit(f"constraints.txt does not pin {name}: make constraints")
    return entry[0]


def tree_requirements(extras: list[str]) -> list[str]:
    """What the working tree needs to be built and to run with these extras."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    optional = (line for extra in extras for line in project["optional-dependencies"][extra])
    return [*settings["build-system"]["requires"], *project["dependencies"], *optional]


def wheel_requirement(wheel: Path, extras: list[str]) -> str:
    """A wheel as a requirement that passes hash checking, so that its own metadata is what counts."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"edgeharfer[{','.join(extras)}] @ {wheel.resolve().as_uri()} --hash=sha256:{digest}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, help="install this wheel instead of the working tree")
    parser.add_argument("directory", type=Path)
    parser.add_argument("extras", nargs="*", metavar="EXTRA")
    options = parser.parse_args()
    print(f"Installing edgeharfer[{','.join(options.extras)}] in {options.directory} …", flush=True)

    python = python_of(options.directory)
    pip = (python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install")
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        # The pip that comes with Python 3.11 cannot take hashes from a constraints file.
        requirements.write_text(pinned("pip"))
        run(*pip, "-r", requirements)
        wanted = (
            [wheel_requirement(options.wheel, options.extras)]
            if options.wheel
            else tree_requirements(options.extras)
        )
        requirements.write_text("\n".join(wanted) + "\n")
        run(*pip, "-c", CONSTRAINTS, "-r", requirements)
    if not options.wheel:
        run(*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT)


if __name__ == "__main__":
    main()
