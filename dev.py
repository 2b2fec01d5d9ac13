#!/usr/bin/env python3
"""Set up, run and test edgeharfer from a checkout, with Python 3.11 to 3.13 and its venv module alone.

    python3 dev.py demo              run on the built-in demo source
    python3 dev.py test [ARG...]     run the tests; arguments go to pytest
    python3 dev.py lint              ruff
    python3 dev.py format            ruff format and automatic fixes
    python3 dev.py types             mypy --strict
    python3 dev.py contracts         import contracts
    python3 dev.py check             lint, types, contracts and tests
    python3 dev.py tensorrt          build all shipped graphs with TensorRT's parser, without a GPU
    python3 dev.py docs              build the documentation in site/
    python3 dev.py wheel             build the wheel in dist/
    python3 dev.py environment NAME  only make an environment: demo, test, docs or audit

Environments are the folders .venv, .venv-test, .venv-docs, .venv-audit and .venv-tensorrt. Each is made once,
and again when its inputs change. For the tests, missing system packages are installed with apt if no password
is needed (as root, or with sudo); otherwise the tests that need them are skipped, and with CI=true they fail.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST, TOO_NEW = (3, 11), (3, 14)
"""Every dependency has wheels for versions from OLDEST to below TOO_NEW."""

ENVIRONMENTS = {
    "demo": (".venv", ("cpu",)),
    "test": (
        ".venv-test",
        (
            *("cpu", "openvino", "webgpu", "mediapipe", "heif", "export", "train", "compare"),
            *("report", "kiosk", "app", "scale", "sign", "dev"),
        ),
    ),
    "audit": (".venv-audit", ("audit",)),
    "docs": (".venv-docs", ("cpu", "docs")),
    "tensorrt": (".venv-tensorrt", ("cpu", "tensorrt-check")),
}
"""Name -> folder and extras."""

IN_PROCESSES = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
"""Options of pytest-xdist: the tests of one file stay together, and slow files do not come last. Many tests
wait, so three processes keep two cores busy."""

ROOTS = ("runtime", "export", "training", "calib")
NOT_WITH_310 = ("export", "training")
"""The roots that need Python 3.11."""


def main() -> None:
    """Run a command with a Python version that every dependency has wheels for."""
    command, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if command not in COMMANDS:
        sys.exit(__doc__)
    use_fitting_python()
    os.chdir(ROOT)
    COMMANDS[command](arguments)


def use_fitting_python() -> None:
    """Start again with another Python on the path if this one is too old or too new."""
    if OLDEST <= sys.version_info < TOO_NEW:
        return
    for name in ("python3.13", "python3.12", "python3.11"):
        path = shutil.which(name)
        if path is not None and is_fitting(path):
            sys.exit(subprocess.run([path, *sys.argv], check=False).returncode)
    sys.exit(f"edgeharfer needs Python 3.11, 3.12 or 3.13, and this is {sys.version.split()[0]}")


def is_fitting(python: str) -> bool:
    """Whether every dependency has wheels for the version of an interpreter."""
    code = f"import sys; sys.exit(not {OLDEST} <= sys.version_info < {TOO_NEW})"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def demo(arguments: list[str]) -> None:
    """Run on the demo source."""
    run(environment("demo", "edgeharfer"), "run", "--source", "demo", "--duration", "10", *arguments)


def test(arguments: list[str]) -> None:
    """Run the tests in three processes, or in one with the given arguments."""
    install_system_packages()
    run(environment("test", "python"), "-m", "pytest", *(arguments or IN_PROCESSES))


def lint(_: list[str]) -> None:
    """Check with ruff, including the format."""
    ruff = environment("test", "ruff")
    run(ruff, "check", ".")
    run(ruff, "format", "--check", ".")


def reformat(_: list[str]) -> None:
    """Apply the fixes and the format of ruff."""
    ruff = environment("test", "ruff")
    run(ruff, "check", "--fix", ".")
    run(ruff, "format", ".")


def types(_: list[str]) -> None:
    """Mypy on sources, tests and the scripts in docs; on what runs on a device once more, for Python 3.10."""
    mypy = environment("test", "mypy")
    run(mypy, *ROOTS, "tests", "docs", "dev.py", ".ci/environment.py", ".ci/gpu_check.py")
    # NumPy's types are those of a version for 3.11, and Any with 3.10.
    options = ("--python-version", "3.10", "--no-warn-return-any", "--cache-dir", ".mypy_cache/310")
    run(mypy, *options, *(root for root in ROOTS if root not in NOT_WITH_310))


def contracts(_: list[str]) -> None:
    """Check the import contracts."""
    run(environment("test", "lint-imports"))


def tensorrt(_: list[str]) -> None:
    """Build all shipped graphs in the forms for TensorRT."""
    run(environment("tensorrt", "edgeharfer"), "models", "check", "--for", "tensorrt")


def docs(_: list[str]) -> None:
    """Build the site of the documentation in site/; a warning is an error."""
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    run(environment("docs", "mkdocs"), "build", "--strict", "--quiet")
    print(f"site/: {len(list(Path('site').rglob('index.html')))} pages")


def check(_: list[str]) -> None:
    """Run lint, types, contracts and tests."""
    for step in (lint, types, contracts, test):
        step([])


def wheel(_: list[str]) -> None:
    """Build the wheel in dist/."""
    python = environment("test", "python")
    shutil.rmtree("dist", ignore_errors=True)
    run(python, "-m", "hatchling", "build")


def make_environment(names: list[str]) -> None:
    """Make these environments."""
    for name in names:
        if name not in ENVIRONMENTS:
            sys.exit(f"unknown environment {name!r}: choose from {', '.join(ENVIRONMENTS)}")
        environment(name, "python")


COMMANDS = {
    "demo": demo,
    "test": test,
    "lint": lint,
    "format": reformat,
    "types": types,
    "contracts": contracts,
    "tensorrt": tensorrt,
    "docs": docs,
    "check": check,
    "wheel": wheel,
    "environment": make_environment,
}


def environment(name: str, program: str) -> Path:
    """Make an environment if needed, and return the path of a program in it."""
    sys.path[:0] = [str(ROOT / ".ci"), str(ROOT / "tests")]
    from environment import ensure, programs

    from system_parts import PARTS

    folder, extras = ENVIRONMENTS[name]
    ensure(ROOT / folder, extras, headless=not PARTS["OpenCV's libraries"].present())
    return programs(ROOT / folder) / program


def install_system_packages() -> None:
    """Install missing Debian packages for the tests, if no password is needed."""
    sys.path.insert(0, str(ROOT / "tests"))
    from system_parts import missing

    packages = [package for part in missing() for package in part.packages]
    prefix = root_prefix()
    if not packages or prefix is None or shutil.which("apt-get") is None:
        return
    print(f"Installing {' '.join(packages)} ...", flush=True)
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    install = [*prefix, *quiet, "install", "--yes", "--no-install-recommends", *packages]
    updated = subprocess.run([*prefix, *quiet, "update"], check=False).returncode == 0
    installed = updated and subprocess.run(install, stdout=subprocess.DEVNULL, check=False).returncode == 0
    if not installed:
        print("apt-get failed: the tests that need these packages are skipped", file=sys.stderr)


def root_prefix() -> "list[str] | None":
    """Return the prefix of a command that needs root; None if a password is required."""
    if not hasattr(os, "geteuid"):
        return None
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    allowed = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    return ["sudo", "-n"] if allowed else None


def run(*command: "str | Path") -> None:
    """Run a command, and exit with its exit code if it fails."""
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        code = 130
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
