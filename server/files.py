"""Files that are named by what is in them: written whole or not at all, and never twice."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from hawthorn.strategies import AuditError

SUFFIX = ".safetensors"


def stored(folder: Path, kind: str, data: bytes) -> str:
    """The SHA-256 of the data, which are on the disk under that name when this returns; raises `AuditError`."""
    digest = hashlib.sha256(data).hexdigest()
    path = path_of(folder, kind, digest)
    if path.is_file():
        return digest
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync(folder)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise AuditError(f"cannot write {path}: {error.strerror}") from error
    return digest


def contents(folder: Path, kind: str, digest: str) -> bytes:
    """What was stored; raises `AuditError` where it is not there, or is not what was stored."""
    path = path_of(folder, kind, digest)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise AuditError(f"{path} is not there (any more)") from None
    except OSError as error:
        raise AuditError(f"cannot read {path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise AuditError(f"{path} was changed since it was written: put it back from a backup")
    return data


def linked(folder: Path, kind: str, digest: str, into: Path) -> None:
    """Have such a file in another folder too, whatever is deleted here; raises `AuditError` where it is not there."""
    path, other = path_of(folder, kind, digest), path_of(into, kind, digest)
    if other.is_file():
        return
    try:
        try:
            os.link(path, other)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, other)
    except FileNotFoundError:
        raise AuditError(f"{path} is not there (any more)") from None
    except OSError as error:
        raise AuditError(f"cannot write {other}: {error.strerror}") from error


def path_of(folder: Path, kind: str, digest: str) -> Path:
    """Where such a file is."""
    return folder / f"{kind}-{digest}{SUFFIX}"


def thin(folder: Path, kept: Collection[str]) -> None:
    """Delete all files but those of these digests; what cannot be deleted now is tried again the next time."""
    for path in folder.glob("*-*"):
        if path.suffix in (SUFFIX, ".partial") and path.stem.partition("-")[2] not in kept:
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue


def made_folder(folder: Path) -> Path:
    """The folder, which is there and can be written to; raises `AuditError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AuditError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise AuditError(f"cannot write into the folder {folder}")
    _sync(folder.parent)
    return folder


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
