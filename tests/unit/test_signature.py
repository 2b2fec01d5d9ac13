"""Signatures: what a key vouches for is taken, everything else is refused before it is read."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_models
from edgeharfer.runtime.errors import ConfigError, MissingExtra, ModelError
from edgeharfer.runtime.inference import package as package_module
from edgeharfer.runtime.inference.package import MANIFEST, load_package, sign_package, verify_package
from edgeharfer.runtime.inference.signature import SIGNATURE, generate_key_pair, sign_bytes, verify_signature
from edgeharfer.runtime.installation import install_command

needs_cryptography = pytest.mark.skipif(
    importlib.util.find_spec("cryptography") is None, reason="needs the sign extra"
)

# RFC 8032, section 7.1, TEST 3: secret key, public key and signature of the message af82.
RFC_SECRET = "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"
RFC_PUBLIC = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
RFC_SIGNATURE = (
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    pytest.importorskip("cryptography", reason="needs the sign extra")
    generate_key_pair(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("key.pub")


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    folder = tiny_models.emotion_package(tmp_path / "package").path
    (folder / "MODELCARD.md").write_text("what it is for")
    sign_package(folder, key)
    return folder


def pem(path: Path, kind: str, der_start: str, raw: str) -> Path:
    """A PEM file of a raw Ed25519 key; the start of its DER is that of RFC 8410."""
    body = base64.b64encode(bytes.fromhex(der_start + raw)).decode()
    path.write_text(f"-----BEGIN {kind} KEY-----\n{body}\n-----END {kind} KEY-----\n")
    return path


@needs_cryptography
def test_it_is_the_ed25519_of_rfc_8032(tmp_path: Path) -> None:
    secret = pem(tmp_path / "s", "PRIVATE", "302e020100300506032b657004220420", RFC_SECRET)
    public = pem(tmp_path / "p", "PUBLIC", "302a300506032b6570032100", RFC_PUBLIC)
    message = bytes.fromhex("af82")
    assert sign_bytes(message, secret).hex() == RFC_SIGNATURE
    verify_signature(message, bytes.fromhex(RFC_SIGNATURE), public, "m")
    with pytest.raises(ModelError, match=r"^m: manifest\.sig does not match the key"):
        verify_signature(message + b"\0", bytes.fromhex(RFC_SIGNATURE), public, "m")


def test_a_signed_package_is_whole_and_every_file_has_its_hash(signed: Path, public: Path) -> None:
    package = verify_package(signed, require_signature=public)
    assert list(package.manifest.other_files) == ["MODELCARD.md"]
    assert load_package(signed, "emotion", require_signature=public) == package
    assert verify_package(signed) == package
    (signed / "MODELCARD.md").write_text("what it is FOR")
    with pytest.raises(ModelError, match=r"MODELCARD\.md: damaged"):
        verify_package(signed, require_signature=public)


def test_a_paper_that_was_changed_can_be_signed_again(signed: Path, key: Path, public: Path) -> None:
    (signed / "MODELCARD.md").write_text("a better text")
    (signed / "receipt.json").write_text("{}")
    sign_package(signed, key)
    package = verify_package(signed, require_signature=public)
    assert list(package.manifest.other_files) == ["MODELCARD.md", "receipt.json"]


def change_manifest(folder: Path) -> None:
    content = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(content.replace(b'"happy"', b'"bored"'))


def change_model(folder: Path) -> None:
    """As someone would who can write the manifest, too."""
    data = tiny_models.classifier(output="logits")
    (folder / "model.onnx").write_bytes(data)
    manifest = json.loads((folder / MANIFEST).read_text())
    spec = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["files"]["fp32"]["model"].update(spec)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def break_manifest(folder: Path) -> None:
    """No JSON at all: were it parsed first, the error would be another."""
    (folder / MANIFEST).write_text("[" * 100_000)


def truncate(folder: Path) -> None:
    (folder / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes()[:-1])


def lengthen(folder: Path) -> None:
    (folder / SIGNATURE).write_bytes((folder / SIGNATURE).read_bytes() + b"\n")


def zero(folder: Path) -> None:
    (folder / SIGNATURE).write_bytes(bytes(64))


def flip(folder: Path) -> None:
    signature = bytearray((folder / SIGNATURE).read_bytes())
    signature[0] ^= 1
    (folder / SIGNATURE).write_bytes(signature)


def empty(folder: Path) -> None:
    (folder / SIGNATURE).write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / SIGNATURE).unlink()


def link(folder: Path) -> None:
    (folder / SIGNATURE).rename(folder.with_name("elsewhere.sig"))
    (folder / SIGNATURE).symlink_to(folder.with_name("elsewhere.sig"))


def dangle(folder: Path) -> None:
    (folder / SIGNATURE).unlink()
    (folder / SIGNATURE).symlink_to("nowhere")


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (change_manifest, "does not match the key"),
    (change_model, "does not match the key"),
    (break_manifest, "does not match the key"),
    (zero, "does not match the key"),
    (flip, "does not match the key"),
    (truncate, "63 bytes, expected 64"),
    (lengthen, "65 bytes, expected 64"),
    (empty, "0 bytes, expected 64"),
    (remove, "not signed, but a signature is required"),
    (link, r"manifest\.sig: cannot be read"),
    (dangle, r"manifest\.sig: cannot be read"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED, ids=[change.__name__ for change, _ in REFUSED])
def test_what_is_not_as_it_was_signed_is_refused_before_it_is_understood(
    signed: Path, public: Path, change: Callable[[Path], None], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(signed)
    parsed: list[object] = []
    monkeypatch.setattr(package_module, "parse_manifest", lambda *given: parsed.append(given))
    for read in (load_package, verify_package):
        with pytest.raises(ModelError, match=reason) as caught:
            read(signed, require_signature=public)
        assert str(signed) in str(caught.value)
    assert parsed == []


def test_every_flipped_byte_of_a_signed_manifest_is_refused(signed: Path, public: Path) -> None:
    path = signed / MANIFEST
    good = path.read_bytes()
    for offset in range(len(good)):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 1 << offset % 8]) + good[offset + 1 :])
        with pytest.raises(ModelError, match="does not match the key"):
            load_package(signed, require_signature=public)


def test_another_key_vouches_for_nothing(signed: Path, tmp_path: Path) -> None:
    other = generate_key_pair(tmp_path / "other")
    with pytest.raises(ModelError, match=r"does not match the key .*other\.pub"):
        load_package(signed, require_signature=other)


def test_a_signature_of_another_package_is_refused(
    signed: Path, key: Path, public: Path, tmp_path: Path
) -> None:
    other = tiny_models.action_package(tmp_path / "other").path
    sign_package(other, key)
    shutil.copy(other / SIGNATURE, signed / SIGNATURE)
    with pytest.raises(ModelError, match="does not match the key"):
        load_package(signed, require_signature=public)


def test_a_package_that_ships_must_be_signed_like_any_other(public: Path) -> None:
    with pytest.raises(ModelError, match="not signed"):
        load_package("emotion-fer8", require_signature=public)


def test_only_ed25519_keys_of_the_right_half_are_keys(signed: Path, key: Path, public: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    (foreign := key.with_name("ec.pub")).write_bytes(
        curve.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (noise := key.with_name("noise.pub")).write_bytes(b"\0\xff" * 40_000)
    for wrong in (key, foreign, noise, signed, key.with_name("nowhere")):
        with pytest.raises(ConfigError, match=r"key.*keygen"):
            load_package(signed, require_signature=wrong)
    for wrong in (public, noise):
        with pytest.raises(ConfigError, match="not an unencrypted Ed25519 private key"):
            sign_package(signed, wrong)


def test_keys_are_written_once_and_the_private_one_for_its_owner(tmp_path: Path, key: Path) -> None:
    assert key.stat().st_mode & 0o077 == 0
    before = key.read_bytes()
    with pytest.raises(ConfigError, match="file exists"):
        generate_key_pair(key)
    key.with_name("key.pub").unlink()
    with pytest.raises(ConfigError, match="File exists"):
        generate_key_pair(key)
    assert key.read_bytes() == before
    with pytest.raises(ConfigError, match="No such file"):
        generate_key_pair(tmp_path / "no" / "folder" / "key")


@pytest.mark.parametrize("what", ["damaged", "link", "folder"])
def test_what_cannot_be_vouched_for_is_not_signed(signed: Path, key: Path, what: str) -> None:
    before = {path.name: path.read_bytes() for path in signed.iterdir()}
    if what == "damaged":
        (signed / "model.onnx").write_bytes(before["model.onnx"][::-1])
        before["model.onnx"] = before["model.onnx"][::-1]
    elif what == "link":
        (signed / "notes.txt").symlink_to("/etc/hostname")
    else:
        (signed / "more").mkdir()
    with pytest.raises(ModelError):
        sign_package(signed, key)
    assert {name: (signed / name).read_bytes() for name in before} == before


def test_a_package_that_cannot_be_written_is_told(signed: Path, key: Path) -> None:
    (signed / SIGNATURE).unlink()
    (signed / SIGNATURE).mkdir()
    with pytest.raises(ModelError, match="cannot be written: Is a directory: sign a copy"):
        sign_package(signed, key)


@pytest.mark.needs("OpenSSL")
def test_openssl_agrees(signed: Path, public: Path) -> None:
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public), "-rawin"]
    command += ["-in", str(signed / MANIFEST), "-sigfile", str(signed / SIGNATURE)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    change_manifest(signed)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_without_cryptography_nothing_that_must_be_signed_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models.emotion_package(tmp_path / "p").path
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    (folder / SIGNATURE).write_bytes(bytes(64))
    for attempt in (load_package, verify_package):
        with pytest.raises(MissingExtra, match=re.escape(install_command("sign"))):
            attempt(folder, require_signature=tmp_path / "key.pub")
    with pytest.raises(MissingExtra):
        sign_package(folder, tmp_path / "key")
    with pytest.raises(MissingExtra):
        generate_key_pair(tmp_path / "key")
    load_package(folder)
