"""Who may log in: a file of names, roles and scrypt hashes of passwords, a line each."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
import re
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from hawthorn.strategies.errors import SettingError

ROLES = ("viewer", "operator")
LEAST_PASSWORD = 10  # characters
LOG_COST, BLOCK, PARALLEL = 15, 8, 3  # 32 MiB and about a quarter of a second, OWASP's advice for scrypt
MOST_MEMORY = 256 * 2**20


@dataclass(frozen=True)
class User:
    """Who may log in, with the role that decides whether orders are taken from them."""

    name: str
    role: str
    hash: str


def scrypt_hash(password: str) -> str:
    """A salted hash of a password, which tells how it was made; raises `SettingError` for a short one."""
    if len(password) < LEAST_PASSWORD:
        raise SettingError(f"a password must have at least {LEAST_PASSWORD} characters, got {len(password)}")
    salt = secrets.token_bytes(16)
    parts = [base64.b64encode(data).decode() for data in (salt, _scrypt(password, salt, LOG_COST, BLOCK, PARALLEL))]
    return "$".join(["scrypt", str(LOG_COST), str(BLOCK), str(PARALLEL), *parts])


def matches(password: str, written: str) -> bool:
    """Whether this is the password that was hashed; takes as long if it is not."""
    name, log_cost, block, parallel, salt, digest = written.split("$")
    assert name == "scrypt"
    found = _scrypt(password, base64.b64decode(salt), int(log_cost), int(block), int(parallel))
    return hmac.compare_digest(found, base64.b64decode(digest))


@functools.cache
def nobody() -> User:
    """Whom an unknown name is compared with, so that it takes as long as a known one."""
    return User("", "", scrypt_hash(secrets.token_urlsafe()))


class Users:
    """The users file, read again when it changes. Raises `SettingError` where it cannot be read, or says nonsense."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._read_at: tuple[int, int, int] | None = None
        self._users: dict[str, User] = {}

    def find(self, name: str) -> User | None:
        """The user of that name as the file has it now."""
        return self.all().get(name)

    def all(self) -> dict[str, User]:
        """Every user by name; none where there is no file."""
        with self._lock:
            try:
                status = self.path.stat()
                stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
                if stamp != self._read_at:
                    self._users = _parsed(self.path.read_text(encoding="utf-8"), self.path)
                    self._read_at = stamp
            except FileNotFoundError:
                self._users, self._read_at = {}, None
            except (OSError, UnicodeDecodeError) as error:
                raise SettingError(f"cannot read the users file {self.path}: {error}") from error
            return self._users

    def put(self, name: str, role: str, password: str) -> User:
        """A user who from now on has this role and password; sessions that the name had end."""
        user = User(_checked_name(name), _checked_role(role), scrypt_hash(password))
        self._write({**self.all(), name: user})
        return user

    def remove(self, name: str) -> None:
        """Let a user no longer in; raises `SettingError` naming those there are."""
        users = self.all()
        if name not in users:
            raise SettingError(f"no user {name!r} in {self.path}; there are {', '.join(users) or 'none'}")
        self._write({known: user for known, user in users.items() if known != name})

    def _write(self, users: dict[str, User]) -> None:
        """Replace the file in one step; nobody but its owner reads it."""
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        lines = [f"{user.name}:{user.role}:{user.hash}\n" for user in users.values()]
        try:
            with open(beside, "w", encoding="utf-8", opener=_private) as file:
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self.path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise SettingError(f"cannot write the users file {self.path}: {error.strerror}") from error


def _scrypt(password: str, salt: bytes, log_cost: int, block: int, parallel: int) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=2**log_cost, r=block, p=parallel, maxmem=MOST_MEMORY, dklen=32)


def _parsed(text: str, path: Path) -> dict[str, User]:
    users: dict[str, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, role, written = [*line.split(":", 2), "", ""][:3]
        if role not in ROLES or not re.fullmatch(r"scrypt(\$\d+){3}(\$[A-Za-z0-9+/=]+){2}", written):
            raise SettingError(
                f"{path}, line {number}: expected NAME:ROLE:HASH as `hawthorn dashboard add-user` writes"
            )
        users[name] = User(name, role, written)
    return users


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", name):
        raise SettingError(f"a user's name must be letters, digits, '.', '_', '@' and '-', got {name!r}")
    return name


def _checked_role(role: str) -> str:
    if role not in ROLES:
        raise SettingError(f"a role must be one of {', '.join(ROLES)}, got {role!r}")
    return role


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
