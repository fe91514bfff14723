"""JSON documents with a detached signature, verified with public keys alone."""

from __future__ import annotations

from signing.documents import DocumentMalformed, DocumentSigner, PublicKeys, SignatureInvalid

__all__ = ["DocumentMalformed", "DocumentSigner", "PublicKeys", "SignatureInvalid"]
