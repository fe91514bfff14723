"""The errors of the artifacts service.

DomainError
├── InvalidInput
│   ├── BatchTooLarge
│   ├── NameInvalid
│   ├── PathInvalid
│   ├── PointerInvalid
│   ├── SizeMismatch
│   ├── StreamInvalid
│   └── ValueTooLarge
├── Forbidden
│   └── PathReserved
├── NotFound
│   ├── ArtifactNotFound
│   └── UploadNotFound
├── Conflict
│   ├── ArtifactConflict
│   ├── DigestUnexpected
│   └── RunNotFound
├── OutOfRange
│   └── RangeInvalid
├── Unavailable
│   └── StoreUnavailable
│       └── PutOutcomeUnknown     whether the object was stored is unknown
└── DataLoss
    ├── ArtifactCorrupt
    └── DigestMismatch
"""

from __future__ import annotations

from servicekit.errors import (
    Conflict,
    DataLoss,
    Forbidden,
    InvalidInput,
    NotFound,
    OutOfRange,
    Unavailable,
)


class BatchTooLarge(InvalidInput):
    """The files of a batch are larger than 3 MiB together."""

    reason = "ERROR_REASON_BATCH_TOO_LARGE"
    hint = "Send fewer at once; large files go by CreateUpload and come by DownloadArtifact."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the bodies are more than {limit_bytes:,} bytes together", limit_bytes=str(limit_bytes)
        )


class NameInvalid(InvalidInput):
    """The name is malformed, or collides with a file or folder."""

    reason = "ERROR_REASON_NAME_INVALID"
    hint = "Choose a name that is free, and that is no folder of another file's nor inside one."

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the name {name!r} cannot be used: {why}", name=name)


class PathInvalid(InvalidInput):
    """The path is malformed, or another tenant's."""

    reason = "ERROR_REASON_PATH_INVALID"
    hint = "Use a path that this service returned for the tenant."

    def __init__(self, path: str) -> None:
        super().__init__("the path is not one of this tenant's", path=path)


class PointerInvalid(InvalidInput):
    """The JSON pointer is malformed, or names no value."""

    reason = "ERROR_REASON_POINTER_INVALID"
    hint = "A pointer follows RFC 6901, such as /sections/3/title."

    def __init__(self, json_pointer: str, why: str) -> None:
        super().__init__(f"the JSON pointer {json_pointer!r}: {why}", json_pointer=json_pointer)


class SizeMismatch(InvalidInput):
    """More or fewer bytes arrived than were declared."""

    reason = "ERROR_REASON_SIZE_MISMATCH"
    hint = "Announce the file's true size with CreateUpload, then send all of it."

    def __init__(self, size_bytes: int, came: str) -> None:
        super().__init__(
            f"{came} bytes came, {size_bytes} were declared", size_bytes=str(size_bytes)
        )


class StreamInvalid(InvalidInput):
    """The messages of UploadArtifact are in the wrong order."""

    reason = "ERROR_REASON_STREAM_INVALID"
    hint = "Name the upload in the first message; the others carry bytes."


class ValueTooLarge(InvalidInput):
    """The file is too large to extract JSON values from it."""

    reason = "ERROR_REASON_VALUE_TOO_LARGE"
    hint = "Download the file and take the value out of it yourself."

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"values are taken out of files of at most {limit_bytes:,} bytes",
            limit_bytes=str(limit_bytes),
        )


class PathReserved(Forbidden):
    """The caller may not write this file; `writer` may."""

    reason = "ERROR_REASON_PATH_RESERVED"
    hint = (
        "People write into step `input` of a run that is held, until it is started; "
        "everything else is what the run leaves behind."
    )

    def __init__(self, path: str, writer: str, why: str = "") -> None:
        because = f": {why}" if why else ""
        super().__init__(
            f"only the workload {writer} writes {path}{because}", path=path, writer=writer
        )


class ArtifactNotFound(NotFound):
    """No file is committed at the path."""

    reason = "ERROR_REASON_ARTIFACT_NOT_FOUND"
    hint = "List the run's files with ListArtifacts."

    def __init__(self, path: str) -> None:
        super().__init__("no file is committed at this path", path=path)


class UploadNotFound(NotFound):
    """The upload does not exist, or has expired."""

    reason = "ERROR_REASON_UPLOAD_NOT_FOUND"
    hint = "Announce the file again with CreateUpload."

    def __init__(self, upload_id: str) -> None:
        super().__init__("there is no such upload, or it has expired", upload_id=upload_id)


class ArtifactConflict(Conflict):
    """A file with other bytes is committed at the path."""

    reason = "ERROR_REASON_ARTIFACT_CONFLICT"
    hint = "A committed file never changes: use another name, or take the file that is there."

    def __init__(self, path: str, digest: str) -> None:
        super().__init__("another file is committed at this path", path=path, digest=digest)


class DigestUnexpected(Conflict):
    """The committed file has another digest than the caller expects."""

    reason = "ERROR_REASON_DIGEST_UNEXPECTED"
    hint = "Ask with the digest of the file that is committed."

    def __init__(self, path: str, digest: str) -> None:
        super().__init__("the file has another digest", path=path, digest=digest)


class RunNotFound(Conflict):
    """The file's run does not exist."""

    reason = "ERROR_REASON_RUN_NOT_FOUND"
    hint = "Create the run first; its files belong to it."

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}", run_id=run_id)


class RangeInvalid(OutOfRange):
    """The offset is beyond the end of the file."""

    reason = "ERROR_REASON_RANGE_INVALID"
    hint = "Begin at an offset within the file."

    def __init__(self, size_bytes: int) -> None:
        super().__init__(
            f"the offset lies behind the file's {size_bytes} bytes", size_bytes=str(size_bytes)
        )


class StoreUnavailable(Unavailable):
    """The object store cannot be reached, or refused the request."""

    reason = "ERROR_REASON_STORE_UNAVAILABLE"
    hint = "Nothing has been committed; call again."


class PutOutcomeUnknown(StoreUnavailable):
    """All bytes of a PUT were sent and no answer came: the object may still appear."""


class ArtifactCorrupt(DataLoss):
    """The stored bytes are missing or do not match their digest."""

    reason = "ERROR_REASON_ARTIFACT_CORRUPT"
    hint = "The store has lost or changed the file: restore it from a backup of the store."

    def __init__(self, path: str) -> None:
        super().__init__("the stored bytes are missing or do not agree with the digest", path=path)


class DigestMismatch(DataLoss):
    """The received bytes do not match the declared digest."""

    reason = "ERROR_REASON_DIGEST_MISMATCH"
    hint = "Nothing was stored; send the bytes again."

    def __init__(self, digest: str) -> None:
        super().__init__("the bytes that came have another sha256", digest=digest)
