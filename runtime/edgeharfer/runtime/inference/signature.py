"""Ed25519 signatures (RFC 8032) of package manifests, which contain the hashes of all other files.

Keys are PEM files (RFC 8410) and a signature is 64 raw bytes, so OpenSSL can verify it as well:

    openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in manifest.json -sigfile manifest.sig
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeharfer.runtime.errors import ConfigError, MissingExtra, ModelError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE = "manifest.sig"
SIGNATURE_BYTES = 64
_MAX_KEY_BYTES = 16 * 1024


def verify_signature(content: bytes, signature: bytes, key: Path, where: str) -> None:
    """Verify the signature of a manifest.

    Args:
        content: The signed bytes.
        signature: The 64 bytes of the signature.
        key: PEM file with the public key.
        where: What was signed, for error messages.

    Raises:
        ModelError: The signature does not match.
        ConfigError: The key file is missing, unreadable or not an Ed25519 public key.
        MissingExtra: cryptography is not installed.
    """
    public = _public_key(key)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, content)
    except InvalidSignature as error:
        raise ModelError(
            f"{where}: {SIGNATURE} does not match the key {key}, or the package was modified: "
            "download it again from a trusted source"
        ) from error


def sign_bytes(content: bytes, key: Path) -> bytes:
    """Return the 64-byte Ed25519 signature of `content`.

    Raises:
        ConfigError: The key file is missing, unreadable or not an Ed25519 private key.
        MissingExtra: cryptography is not installed.
    """
    return _private_key(key).sign(content)


def public_key_pem(key: Path) -> bytes:
    """Return the public key that belongs to a private key file, in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return _private_key(key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def generate_key_pair(path: Path) -> Path:
    """Write a new private key, readable by its owner only, and its public key.

    Args:
        path: File of the private key. The public key gets the same name with ".pub" appended.

    Returns:
        The path of the public key.

    Raises:
        ConfigError: One of the files exists or cannot be written.
        MissingExtra: cryptography is not installed.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    public = path.with_name(path.name + ".pub")
    if public.exists():
        raise ConfigError(f"{public}: file exists: choose another name")
    secret = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_new(path, secret, 0o600)
    _write_new(public, public_key_pem(path), 0o644)
    return public


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}: choose another name") from error


def _public_key(path: Path) -> Ed25519PublicKey:
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key: Ed25519PublicKey = _key(path, load_pem_public_key, Ed25519PublicKey, "public")
    return key


def _private_key(path: Path) -> Ed25519PrivateKey:
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    load = partial(load_pem_private_key, password=None)
    key: Ed25519PrivateKey = _key(path, load, Ed25519PrivateKey, "private")
    return key


def _key(path: Path, load: Callable[[bytes], object], wanted: type, kind: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    pem = _read(path)
    with suppress(TypeError, ValueError, UnsupportedAlgorithm):  # TypeError: the key is encrypted
        if isinstance(key := load(pem), wanted):
            return key
    raise ConfigError(
        f"{path}: not an unencrypted Ed25519 {kind} key in PEM: create one with `edgeharfer models keygen`"
    )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{path}: no such key file: create one with `edgeharfer models keygen`")
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}") from error


def _require_cryptography() -> None:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError as error:
        raise MissingExtra("cryptography", "sign") from error
