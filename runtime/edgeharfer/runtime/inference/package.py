"""Model packages: folders of a manifest and ONNX files whose bytes are checked before use.

A file is read once, without following links, and only if it is a regular file of the size that the
manifest gives; its hash and its graph are checked on those bytes, and a session gets those bytes together
with what the check found. Where a signature is required, it is checked before a byte of the manifest is
understood.
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
"""Of all graphs together."""
_MAX_MANIFEST_BYTES = 1024 * 1024
_OPEN = os.O_RDONLY | sum(
    getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)


@dataclass(frozen=True)
class Package:
    """A folder and its manifest; the model files are read when asked for."""

    path: Path
    manifest: Manifest

    def __repr__(self) -> str:
        held = ", ".join(sorted(self.manifest.files))
        return f"<Package {self.manifest.name} for {self.manifest.task}: {held} in {self.path}>"

    def spec(self, role: str, precision: str) -> FileSpec:
        """What the manifest says of one file. Raises ModelError where it has no such file."""
        try:
            return self.manifest.files[precision][role]
        except KeyError as error:
            raise ModelError(
                f"{self.manifest.name} holds no {precision} {role}: see {self.path / MANIFEST}"
            ) from error

    def read(self, role: str, precision: str = "fp32", budget: FieldBudget | None = None) -> Graph:
        """One model file, read, hashed and scanned. Raises ModelError if it is not what it must be.

        budget: of the scan, where several files share one.
        """
        spec = self.spec(role, precision)
        data = self._checked(spec, MAX_MODEL_BYTES)
        return Graph.scan(data, str(self.path / spec.file), sha256=spec.sha256, budget=budget)

    def read_other_file(self, name: str) -> bytes:
        """The checked bytes of a file that is no graph: another engine's, or a signed paper."""
        try:
            spec = self.manifest.other_files[name]
        except KeyError as error:
            raise ModelError(f"{self.path / MANIFEST} names no file {name}") from error
        return self._checked(spec, MAX_OTHER_BYTES)

    def verify_other_files(self) -> None:
        """Read and hash all files that are no graphs. Raises ModelError."""
        for spec in self.manifest.other_files.values():
            self._checked(spec, MAX_OTHER_BYTES)

    def _checked(self, spec: FileSpec, limit: int) -> bytes:
        path = self.path / spec.file
        data = read_regular_file(path, limit, spec.bytes)
        if hashlib.sha256(data).hexdigest() != spec.sha256:
            raise ModelError(f"{path}: damaged, its SHA-256 is not the manifest's: install the package again")
        return data


def read_regular_file(path: Path, limit: int, size: int | None = None) -> bytes:
    """The bytes of a regular file that is not a link. Raises ModelError for any other, or another size."""
    try:
        with os.fdopen(os.open(path, _OPEN), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ModelError(f"{path}: not a regular file")
            if size is not None and status.st_size != size:
                raise ModelError(f"{path}: {status.st_size} bytes, not {size}: install the package again")
            if status.st_size > limit:
                raise ModelError(f"{path}: {status.st_size} bytes, more than the {limit} that are read")
            data = file.read(status.st_size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f"{path}: cannot be read: {reason}") from error
    if len(data) != status.st_size:
        raise ModelError(f"{path}: changed while it was read")
    return data


def load_package(
    name_or_path: str | Path, task: str | None = None, *, require_signature: Path | None = None
) -> Package:
    """A package by its shipped name or its folder, its model files not read yet.

    A shipped name wins over a folder of the same name below the working directory: write `./name`
    for that one. require_signature: the file of the public key that it must be signed with.
    Raises ModelError if it is not there, is not signed as required, its manifest is wrong, or it is for
    another task; ConfigError for a key that is none, MissingExtra where signatures cannot be checked.
    """
    package = _load_folder(_find_folder(name_or_path), require_signature)
    if task is not None and package.manifest.task != task:
        found = package.manifest.task
        raise ModelError(f"{package.path} is a package for the task {found}, where one for {task} is needed")
    return package


def shipped_packages() -> list[Package]:
    """The packages inside the product, by name."""
    return [_load_folder(folder) for folder in _shipped_folders()]


def verify_package(name_or_path: str | Path, *, require_signature: Path | None = None) -> Package:
    """A package with every file that its manifest names read and hashed, and every graph scanned."""
    package = load_package(name_or_path, require_signature=require_signature)
    _verify(package)
    return package


def sign_package(folder: Path, key: Path) -> Package:
    """Sign a package with the file of a private key; first the papers beside its graphs enter the manifest.

    Raises ModelError for a package that is not whole or holds what cannot be signed (links, folders),
    ConfigError for a key that is none, MissingExtra. It is then as it was.
    """
    manifest = _load_folder(folder).manifest
    named = {spec.file for files in manifest.files.values() for spec in files.values()}
    named |= {*replace(manifest, beside=()).other_files, MANIFEST, SIGNATURE}
    papers = [path for path in sorted(folder.iterdir()) if path.name not in named and path.name[0] != "."]
    package = Package(folder, replace(manifest, beside=tuple(map(_spec_of, papers))))
    _verify(package)
    signature = sign_bytes(dump_manifest(package.manifest).encode(), key)
    try:
        write_manifest(folder, package.manifest)
        (folder / SIGNATURE).write_bytes(signature)
    except OSError as error:
        raise ModelError(f"{folder}: cannot be written: {error.strerror}: sign a copy") from error
    return package


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json, or raise ModelError if it would not load again."""
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
        raise ModelError(f"{str(name_or_path)!r} cannot be a package") from error
    known = ", ".join(names) or "none"
    raise ModelError(
        f"no model package {str(name_or_path)!r}: give a folder or one of those that ship ({known})"
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
        raise ModelError(f"{folder}: not signed, and a signature is required: there is no {SIGNATURE}")
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
    """A graph that would fail or mislead in use: other opset, picture size, window or number of classes."""
    if info.opset != manifest.opset:
        raise ModelError(f"{path}: opset {info.opset}, where {MANIFEST} says {manifest.opset}")
    if manifest.task == FACES:
        return
    if role == ROLLING:
        _check_rolling(manifest, info, path)
        return
    if len(info.inputs) != 1 or len(info.outputs) != 1:
        raise ModelError(
            f"{path}: {len(info.inputs)} inputs and {len(info.outputs)} outputs, where one of each is needed"
        )
    spec, window = manifest.input, manifest.window
    wanted: Shape = ("?", spec.height, spec.width, spec.channels)
    if role == "head" and window is not None:
        wanted = ("?", window.frames, "?")
    _check_shape(path, info.inputs[0].name, info.inputs[0].shape, wanted)
    given = info.outputs[0]
    _check_shape(path, given.name, given.shape, ("?", "?" if role == "encoder" else manifest.outputs))


def _check_rolling(manifest: Manifest, info: OnnxInfo, path: Path) -> None:
    """Features, then states with a row for each open window -> scores, then the states after the frame."""
    assert manifest.window is not None, "a package for clips has a window"
    if not 2 <= len(info.inputs) == len(info.outputs):
        raise ModelError(
            f"{path}: {len(info.inputs)} inputs and {len(info.outputs)} outputs, not a pair for each"
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
        shown = " x ".join(map(str, shape)) or "one number"
        raise ModelError(
            f"{path}: {name} is {shown}, where {MANIFEST} asks for {' x '.join(map(str, wanted))}"
        )
