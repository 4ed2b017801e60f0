"""What streams are called on the console and in file names: nothing secret, nothing that steers a terminal."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from mgil.files.text import printable

_URL = re.compile(r"(?=\b[A-Za-z][A-Za-z0-9+.-]*://)")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)(.*)", re.DOTALL)
_SECRET_KEYS = "pass|password|passwd|passphrase|pwd|token|key|signature|sig|secret|auth|credential"
_SECRET = re.compile(rf"([?&;/_#][\w-]*?(?:{_SECRET_KEYS})=)[^&;\s]*", re.IGNORECASE)
_HALF_STEM = 30  # characters; with 4 bytes each, and a number and a suffix behind, it is still a file name


def shown_name(source: str) -> str:
    """What to call a stream: its address as one line without secrets."""
    return printable(without_login(source))


def without_login(text: str) -> str:
    """Addresses without user names and passwords, and with *** in the place of passwords and keys in their queries.

    A password with a slash in it makes no valid address but is a password all the same; so where the host seems to
    have a port, all up to the last @ is taken for the login, which may hide more than it must.
    """
    return "".join(_without_login(part) for part in _URL.split(text))


def _without_login(address: str) -> str:
    parts = _PARTS.fullmatch(address)
    if parts is None:
        return address
    scheme, host, rest = parts.groups()
    rest = _SECRET.sub(r"\1***", rest)
    if ":" in host and "@" in rest:
        return scheme + rest.rpartition("@")[2]
    return scheme + host.rpartition("@")[2] + rest


def stream_stem(source: str) -> str:
    """What to call the files of a stream: its scheme, host and path, of long ones the beginning and the end."""
    name = shown_name(source)
    address = urlsplit(name)
    if "://" in name:
        name = f"{address.scheme} {address.netloc} {address.path}"
    stem = re.sub(r"\W+", "_", name).strip("_")
    return stem if len(stem) <= 2 * _HALF_STEM else f"{stem[:_HALF_STEM]}_{stem[-_HALF_STEM:]}"
