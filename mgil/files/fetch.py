"""Files behind http(s) URLs, fetched only when the user asks."""

from __future__ import annotations

import hashlib
import shutil
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib import error as url_error
from urllib import request
from urllib.parse import urlsplit

from mgil.files.text import Report

MOST_BYTES = 64 << 30
TIMEOUT_SECONDS = 60
BLOCK = 1 << 20


def fetch(url: str, target: Path, report: Report, *, sha256: str = "", otherwise: str = "") -> str:
    """Write what is behind a URL to a file, up to the size limit and the room on the disk.

    Args:
        url: http or https; it is reported before anything is sent.
        target: The file, made or replaced; after an error it is unfinished.
        report: Gets the URL.
        sha256: What the file must have, in hexadecimal; "" is not checked.
        otherwise: What the message about a wrong one ends with: what was not done.

    Returns:
        The sha256 of what came.

    Raises:
        ValueError: A wrong sha256, or more bytes than there is room for.
        OSError: The network or the disk failed, or the connection ended too early.
    """
    report(f"{url}: downloading")
    room = min(MOST_BYTES, shutil.disk_usage(target.parent).free)
    digest, received = hashlib.sha256(), 0
    try:
        with request.build_opener(_CarefulRedirects).open(url, timeout=TIMEOUT_SECONDS) as response:
            stated = response.headers.get("Content-Length") or ""
            expected = int(stated) if stated.isascii() and stated.isdigit() else -1
            with open(target, "wb") as file:
                while block := response.read(BLOCK):
                    received += len(block)
                    if max(received, expected) > room:
                        raise ValueError(f"{url}: larger than the {room:,} bytes that there is room for")
                    digest.update(block)
                    file.write(block)
    except (url_error.URLError, HTTPException, ConnectionError, TimeoutError) as error:
        reason = error if isinstance(error, url_error.HTTPError) else getattr(error, "reason", error)
        raise OSError(f"{url}: cannot be downloaded ({reason})") from error
    if expected not in (-1, received):
        raise OSError(f"{url}: the connection ended after {received:,} of {expected:,} bytes")
    found = digest.hexdigest()
    if sha256 and found != sha256.lower():
        raise ValueError(f"{url}: its sha256 is {found}, not {sha256}; {otherwise}")
    return found


class _CarefulRedirects(request.HTTPRedirectHandler):
    """Follows redirects to http(s) only, and never from https back to http."""

    def redirect_request(self, req: request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise OSError(f"{req.full_url}: redirected to {newurl[:200]}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
