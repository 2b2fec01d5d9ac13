"""Model packages: folders with a manifest and ONNX files whose content is verified before use.

Each file is read once, without following links, and only if it is a regular file of the size stated in the
manifest. Its hash and graph are checked on the bytes that the session then loads. If a signature is required,
it is verified before the manifest is parsed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from edgeharfer.runtime.errors import ModelError
from edgeharfer.runtime.inference.graph import Graph
from edgeharfer.runtime.inference.manifest import (
    FACES,
    MAX_MODEL_BYTES,
    MAX_OTHER_BYTES,
    ROLLING,
    FileSpec,
    Manifest,
    dump_manifest,
    parse_manifest,
)
from edgeharfer.runtime.inference.protobuf import FieldBudget
from edgeharfer.runtime.inference.scan import MAX_FIELDS, OnnxInfo, Shape
from edgeharfer.runtime.inference.signature import SIGNATURE, SIGNATURE_BYTES, sign_bytes, verify_signature

MANIFEST = "manifest.json"
MODELS = Path(__file__).resolve().parents[2] / "models"
MAX_PACKAGE_FIELDS = 3 * MAX_FIELDS
"""Limit for the protobuf fields of all graphs of a package."""
_MAX_MANIFEST_BYTES = 1024 * 1024
_OPEN = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)


@dataclass(frozen=True)
class Package:
    """A folder with a parsed manifest. Model files are read on request.

    Attributes:
        path: The folder.
        manifest: Its manifest.
    """

    path: Path
    manifest: Manifest

    def __repr__(self) -> str:
        precisions = ", ".join(sorted(self.manifest.files))
        return f"<Package {self.manifest.name} for {self.manifest.task}: {precisions} in {self.path}>"

    def spec(self, role: str, precision: str) -> FileSpec:
        """Return the manifest's entry for a graph.

        Raises:
            ModelError: The package has no such file.
        """
        try:
            return self.manifest.files[precision][role]
        except KeyError as error:
            raise ModelError(
                f"{self.manifest.name} has no {precision} {role} file: see {self.path / MANIFEST}"
            ) from error

    def read(self, role: str, precision: str = "fp32", budget: FieldBudget | None = None) -> Graph:
        """Read, verify and scan a graph.

        Args:
            role: Role of the graph, such as "model".
            precision: Precision of its weights.
            budget: Field limit shared by several graphs, see `scan_onnx`.

        Raises:
            ModelError: The file is missing, damaged or unsafe.
        """
        spec = self.spec(role, precision)
        data = self._read_verified(spec, MAX_MODEL_BYTES)
        return Graph.scan(data, str(self.path / spec.file), sha256=spec.sha256, budget=budget)

    def read_other_file(self, name: str) -> bytes:
        """Read and verify a file that is not a graph, such as a model for another engine or a model card.

        Raises:
            ModelError: The manifest does not list the file, or it is missing or damaged.
        """
        try:
            spec = self.manifest.other_files[name]
        except KeyError as error:
            raise ModelError(f"{self.path / MANIFEST} lists no file {name}") from error
        return self._read_verified(spec, MAX_OTHER_BYTES)

    def verify_other_files(self) -> None:
        """Read and verify all files that are not graphs. Raises ModelError."""
        for spec in self.manifest.other_files.values():
            self._read_verified(spec, MAX_OTHER_BYTES)

    def _read_verified(self, spec: FileSpec, limit: int) -> bytes:
        path = self.path / spec.file
        data = read_regular_file(path, limit, spec.bytes)
        if hashlib.sha256(data).hexdigest() != spec.sha256:
            raise ModelError(
                f"{path}: damaged, its SHA-256 differs from the manifest: install the package again"
            )
        return data


def read_regular_file(path: Path, limit: int, size: int | None = None) -> bytes:
    """Read a regular file without following a link.

    Args:
        path: The file.
        limit: Largest accepted size in bytes.
        size: Expected size in bytes; None for any.

    Raises:
        ModelError: It is not a regular file, has another size, or cannot be read.
    """
    try:
        with os.fdopen(os.open(path, _OPEN), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{path}: not a regular file")
            if size is not None and status.st_size != size:
                raise ModelError(
                    f"{path}: {status.st_size} bytes, expected {size}: install the package again"
                )
            if status.st_size > limit:
                raise ModelError(f"{path}: {status.st_size} bytes, more than the limit of {limit}")
            data = file.read(status.st_size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{path}: cannot be read: {reason}") from error
    if len(data) != status.st_size:
        raise ModelError(f"{path}: changed while being read: try again")
    return data


def load_package(
    name_or_path: str | Path, task: str | None = None, *, require_signature: Path | None = None
) -> Package:
    """Load the manifest of a package.

    Args:
        name_or_path: Name of an included package, or a folder. A name takes precedence over a folder of the
            same name in the working directory; write `./name` for the folder.
        task: Required task of the package.
        require_signature: File of the public key that must have signed the package.

    Raises:
        ModelError: The package is missing, not signed as required, invalid, or for another task.
        ConfigError: The file is not a public key.
        MissingExtra: Signatures cannot be verified because cryptography is not installed.
    """
    package = _load_folder(_find_folder(name_or_path), require_signature)
    if task is not None and package.manifest.task != task:
        found = package.manifest.task
        raise ModelError(f"{package.path} is a package for the task {found}, but one for {task} is required")
    return package


def shipped_packages() -> list[Package]:
    """Return the packages that ship with edgeharfer, sorted by name."""
    return [_load_folder(folder) for folder in _shipped_folders()]


def verify_package(name_or_path: str | Path, *, require_signature: Path | None = None) -> Package:
    """Load a package, read and hash every file listed in its manifest, and scan every graph."""
    package = load_package(name_or_path, require_signature=require_signature)
    _verify(package)
    return package


def sign_package(folder: Path, key: Path) -> Package:
    """Sign a package after adding all unlisted files of its folder, such as the model card, to the manifest.

    The package is not changed if this fails.

    Args:
        folder: The package.
        key: File of the private key.

    Raises:
        ModelError: The package is incomplete or contains links or folders, or cannot be written.
        ConfigError: The file is not a private key.
        MissingExtra: cryptography is not installed.
    """
    manifest = _load_folder(folder).manifest
    named = {spec.file for files in manifest.files.values() for spec in files.values()}
    named |= {*replace(manifest, beside=()).other_files, MANIFEST, SIGNATURE}
    documents = [path for path in sorted(folder.iterdir()) if path.name not in named and path.name[0] != "."]
    package = Package(folder, replace(manifest, beside=tuple(map(_spec_of, documents))))
    _verify(package)
    signature = sign_bytes(dump_manifest(package.manifest).encode(), key)
    try:
        write_manifest(folder, package.manifest)
        (folder / SIGNATURE).write_bytes(signature)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written: {error.strerror}: sign a copy") from error
    return package


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json. Raises ModelError if it would not load again."""
    path = folder / MANIFEST
    content = dump_manifest(manifest).encode()
    parse_manifest(content, str(path))
    path.write_bytes(content)


def _shipped_folders() -> list[Path]:
    return sorted(path.parent for path in MODELS.glob(f"*/{MANIFEST}"))


def _find_folder(name_or_path: str | Path) -> Path:
    names = {folder.name: folder for folder in _shipped_folders()}
    if isinstance(name_or_path, str) and name_or_path in names:
        return names[name_or_path]
    path = Path(name_or_path)
    try:
        if path.is_dir():
            return path
    except (OSError, ValueError) as error:
        raise ModelError(f"{str(name_or_path)!r} is not a valid path of a package") from error
    known = ", ".join(names) or "none"
    raise ModelError(
        f"no model package {str(name_or_path)!r}: give a folder or one of the included packages ({known})"
    )


def _load_folder(folder: Path, key: Path | None = None) -> Package:
    path = folder / MANIFEST
    content = read_regular_file(path, _MAX_MANIFEST_BYTES)
    if key is not None:
        verify_signature(content, _signature_of(folder), key, str(path))
    return Package(folder, parse_manifest(content, str(path)))


def _signature_of(folder: Path) -> bytes:
    path = folder / SIGNATURE
    if not path.is_symlink() and not path.exists():
        raise ModelError(f"{folder}: not signed, but a signature is required: {SIGNATURE} is missing")
    return read_regular_file(path, SIGNATURE_BYTES, SIGNATURE_BYTES)


def _spec_of(path: Path) -> FileSpec:
    data = read_regular_file(path, MAX_OTHER_BYTES)
    return FileSpec(path.name, len(data), hashlib.sha256(data).hexdigest())


def _verify(package: Package) -> None:
    budget = FieldBudget(MAX_PACKAGE_FIELDS)
    for precision, files in package.manifest.files.items():
        for role, spec in files.items():
            graph = package.read(role, precision, budget)
            _check_graph(package.manifest, role, graph.info, package.path / spec.file)
    package.verify_other_files()


def _check_graph(manifest: Manifest, role: str, info: OnnxInfo, path: Path) -> None:
    """Check opset, image size, window and number of outputs, which would otherwise fail or mislead in use."""
    if info.opset != manifest.opset:
        raise ModelError(f"{path}: opset {info.opset}, but {MANIFEST} says {manifest.opset}")
    if manifest.task == FACES:
        return
    if role == ROLLING:
        _check_rolling(manifest, info, path)
        return
    if len(info.inputs) != 1 or len(info.outputs) != 1:
        raise ModelError(
            f"{path}: {len(info.inputs)} inputs and {len(info.outputs)} outputs, expected one of each"
        )
    spec, window = manifest.input, manifest.window
    wanted: Shape = ("?", *spec.shape)
    if role == "head" and window is not None:
        wanted = ("?", window.frames, "?")
    _check_shape(path, info.inputs[0].name, info.inputs[0].shape, wanted)
    given = info.outputs[0]
    _check_shape(path, given.name, given.shape, ("?", "?" if role == "encoder" else manifest.outputs))


def _check_rolling(manifest: Manifest, info: OnnxInfo, path: Path) -> None:
    """Check a rolling head: features and states in, scores and new states out, a row per open window."""
    assert manifest.window is not None, "a package for clips has a window"
    if not 2 <= len(info.inputs) == len(info.outputs):
        raise ModelError(
            f"{path}: {len(info.inputs)} inputs and {len(info.outputs)} outputs, expected pairs of states"
        )
    features, *states = info.inputs
    scores, *after = info.outputs
    _check_shape(path, features.name, features.shape, (1, "?"))
    _check_shape(path, scores.name, scores.shape, (1, manifest.outputs))
    for one in (*states, *after):
        _check_shape(path, one.name, one.shape, (1, manifest.window.frames, "?"))


def _check_shape(path: Path, name: str, shape: Shape, wanted: Shape) -> None:
    pairs = zip(shape, wanted, strict=False)
    if len(shape) != len(wanted) or any(
        a != b for a, b in pairs if isinstance(a, int) and isinstance(b, int)
    ):
        shown = " x ".join(map(str, shape)) or "a scalar"
        raise ModelError(f"{path}: {name} is {shown}, but {MANIFEST} requires {' x '.join(map(str, wanted))}")
