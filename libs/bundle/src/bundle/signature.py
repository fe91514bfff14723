"""`signature.json`: a signed document that names the sha256 of the manifest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bundle.errors import BundleInvalid, Fault
from bundle.names import SIGNATURE
from signing import PublicKeys, SignatureInvalid

if TYPE_CHECKING:
    from signing import DocumentSigner

TYPE = "tenant-bundle"
SIGNER = "workload-tenant"
"""The id, in a JWKS, of the keys by which tenant services sign."""


def sign(signer: DocumentSigner, manifest: bytes) -> bytes:
    """Return the file for a manifest."""
    return signer.sign({"type": TYPE, "manifest": hashlib.sha256(manifest).hexdigest()})


def keys(jwks: str | bytes) -> PublicKeys:
    """Read a JWKS. Raises BundleInvalid when it is none."""
    try:
        return PublicKeys.from_jwks(jwks)
    except SignatureInvalid as error:
        raise BundleInvalid(Fault.SIGNATURE, SIGNATURE, str(error)) from None


def check(trusted: PublicKeys, manifest: bytes, signature: bytes) -> None:
    """Raise BundleInvalid unless one of the keys has signed this manifest."""
    try:
        document = trusted.verify(signature, TYPE, SIGNER)
    except SignatureInvalid as error:
        raise BundleInvalid(Fault.SIGNATURE, SIGNATURE, str(error)) from None
    if document.get("manifest") != hashlib.sha256(manifest).hexdigest():
        raise BundleInvalid(Fault.SIGNATURE, SIGNATURE, "it is of another manifest")
