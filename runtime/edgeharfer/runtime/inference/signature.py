"""Signatures of model packages: Ed25519 (RFC 8032) over the bytes of a manifest, which holds all hashes.

Keys are PEM (RFC 8410) and a signature is its 64 bytes, so that others can check it without this product:

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
    """Raise ModelError unless `signature` of `content` was made with the private half of the key file.

    where: names what was signed, in errors. Raises ConfigError for a file that is no public key,
    MissingExtra where signatures cannot be checked at all.
    """
    public = _public_key(key)
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(signature, content)
    except InvalidSignature as error:
        raise ModelError(
            f"{where}: {SIGNATURE} was not made with the key of {key}, or the package was changed since: "
            "get it anew from whom you trust"
        ) from error


def sign_bytes(content: bytes, key: Path) -> bytes:
    """The signature of some bytes. Raises ConfigError for a file that is no private key, MissingExtra."""
    return _private_key(key).sign(content)


def public_key_pem(key: Path) -> bytes:
    """The public key of a private key's file, in PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return _private_key(key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def generate_key_pair(path: Path) -> Path:
    """Write a new private key, for its owner's eyes only, and beside it the public one; returns that path.

    Raises ConfigError where one of the files is there already or cannot be written, MissingExtra.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    public = path.with_name(path.name + ".pub")
    if public.exists():
        raise ConfigError(f"{public}: is there already: give another name")
    secret = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_new(path, secret, 0o600)
    _write_new(public, public_key_pem(path), 0o644)
    return public


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}: give another name") from error


def _public_key(path: Path) -> Ed25519PublicKey:
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key: Ed25519PublicKey = _key(path, load_pem_public_key, Ed25519PublicKey, "public")
    return key


def _private_key(path: Path) -> Ed25519PrivateKey:
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    load = partial(load_pem_private_key, password=None)
    key: Ed25519PrivateKey = _key(path, load, Ed25519PrivateKey, "private")
    return key


def _key(path: Path, load: Callable[[bytes], object], wanted: type, kind: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    pem = _read(path)
    with suppress(TypeError, ValueError, UnsupportedAlgorithm):  # TypeError: it needs a password
        if isinstance(key := load(pem), wanted):
            return key
    raise ConfigError(
        f"{path}: not an Ed25519 {kind} key in PEM without a password: `edgeharfer models keygen` makes one"
    )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ConfigError(f"{path}: no such key file: `edgeharfer models keygen` makes one")
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise ConfigError(f"{path}: the key cannot be read: {error.strerror}") from error


def _need_cryptography() -> None:
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError as error:
        raise MissingExtra("cryptography", "sign") from error
