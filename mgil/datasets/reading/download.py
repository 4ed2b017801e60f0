"""Fetching a data set, only when asked: archives behind http(s) URLs, unpacked with care. Nothing is ever executed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit
from zlib import error as zlib_error

from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.datasets.reading.hituav import convert_hituav
from mgil.datasets.reading.image_probe import IMAGE_SUFFIXES
from mgil.datasets.reading.load import make_generated
from mgil.datasets.reading.voc import convert_voc
from mgil.files.atomic import write_atomic
from mgil.files.fetch import fetch
from mgil.files.paths import is_there
from mgil.files.text import Report
from mgil.files.yaml_file import read_yaml_mapping

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
CONVERTERS = {"voc": convert_voc, "hituav": convert_hituav}
MAX_UNPACKED_BYTES = 256 << 30
MAX_MEMBERS = 10_000_000
MAX_RATIO = 200  # unpacked to packed: pictures give about 1, label texts and json up to 30, a decompression bomb 1,000
DECODING_ERRORS = (EOFError, RuntimeError, zlib_error, lzma.LZMAError, gzip.BadGzipFile)
BLOCK = 1 << 20
MOST_HEADER_BYTES = 4 << 20  # of a member of a .tar
OPENERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b\x08": gzip.open, b"BZh": bz2.open, b"\xfd7z": lzma.open}
# What a data set is made of. Whatever else an archive holds stays there: a program that is unpacked where another one
# looks for its parts would be run some day.
DATA_SUFFIXES = IMAGE_SUFFIXES.union(
    ("", ".bin", ".csv", ".gif", ".json", ".md", ".names", ".pdf", ".txt", ".xml", ".yaml", ".yml")
)


@dataclass(frozen=True)
class Source:
    """One archive of a data set."""

    url: str
    to: str = ""  # folder inside the data set's folder to unpack into; '' also drops a top folder of the same name
    sha256: str = ""  # of the archive; '' is not checked


@dataclass(frozen=True)
class Member:
    """A file inside an archive."""

    name: str  # a relative path with '/', checked to stay inside the folder it is unpacked into
    size: int
    open: Callable[[], IO[bytes]]


def download_absent(
    config: DataConfig,
    splits: Iterable[str],
    report: Report = print,
    read: Callable[[Path], DataConfig] = load_data_config,
) -> DataConfig:
    """`download` where a file or folder of the splits is not there; else the configuration as it is."""
    make_generated(config)
    if all(is_there(source) for split in splits for source in config.split(split)):
        return config
    return download(config, report, read)


def download(
    config: DataConfig, report: Report = print, read: Callable[[Path], DataConfig] = load_data_config
) -> DataConfig:
    """Fetch what the YAML's `download` entry names and unpack it into the data set's folder.

    An entry is a URL or a list of URLs of .zip or .tar archives, each as text or as `{url:, to:, sha256:}`. Python or
    shell text, which some YOLOv5 data set files carry, is refused. Files that are there already are kept.

    Args:
        config: The data set.
        report: Told what is fetched.
        read: How its YAML was read.

    Returns:
        The data set's configuration, read again.

    Raises:
        ValueError: no entry, an entry that is not a URL of an archive, a wrong checksum, or an archive that would write
            outside the folder, holds links, or unpacks to too much.
        OSError: the network or the disk failed.
    """
    content = read_yaml_mapping(config.yaml_path)
    sources = read_sources(content.get("download"), config.yaml_path)
    convert = content.get("convert")
    if convert not in (None, *CONVERTERS):
        raise ValueError(f"{config.yaml_path}: convert: {convert!r} is not known; {' and '.join(CONVERTERS)} are")
    missing = not config.root.exists()
    config.root.mkdir(parents=True, exist_ok=True)
    try:
        _fetch_all(sources, config.root, report)
    except BaseException:
        if missing:
            with suppress(OSError):  # what an earlier archive left there stays
                config.root.rmdir()
        raise
    if convert is not None:
        CONVERTERS[convert](config.root, config.names)
    return read(config.yaml_path)


def _fetch_all(sources: list[Source], root: Path, report: Report) -> None:
    for source in sources:
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as folder:
            archive = Path(folder) / os.path.basename(urlsplit(source.url).path)
            fetch(source.url, archive, report, sha256=source.sha256, otherwise="nothing was unpacked")
            count, others = unpack(archive, root / source.to, "" if source.to else root.name)
            ignored = f"; {others} that are neither images nor labels were not" if others else ""
            report(f"{source.url}: {count} files unpacked into {root / source.to}{ignored}")


def read_sources(value: Any, yaml_path: Path) -> list[Source]:
    """Check a `download` entry.

    Raises:
        ValueError: there is none, or it is not made of URLs; shows the text.
    """
    if not value:
        raise ValueError(f"{yaml_path}: has no download entry, so there is nothing to fetch")
    return [_read_source(entry, yaml_path) for entry in (value if isinstance(value, list) else [value])]


def _read_source(entry: Any, yaml_path: Path) -> Source:
    fields = entry if isinstance(entry, dict) else {"url": entry}
    shown = " ".join(str(entry).split())[:300]
    if not set(fields) <= {"url", "to", "sha256"} or not all(isinstance(value, str) for value in fields.values()):
        raise ValueError(f"{yaml_path}: download entry {shown!r} must be a URL or have the keys url, to and sha256")
    source = Source(**{"url": "", **fields})
    parts = urlsplit(source.url) if source.url.isprintable() and " " not in source.url else urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{yaml_path}: download is not a URL and is never executed; do by hand what it says: {shown}")
    if not parts.path.lower().endswith(SUFFIXES):
        raise ValueError(f"{yaml_path}: {shown} is not an archive ({', '.join(SUFFIXES)})")
    if source.to and _safe_name(source.to) is None:
        raise ValueError(f"{yaml_path}: download to {source.to!r} leaves the data set's folder")
    return source


def unpack(archive: Path, folder: Path, top: str = "") -> tuple[int, int]:
    """Unpack a .zip or .tar archive; nothing is written unless every member is safe.

    Args:
        archive: the file.
        folder: where to; it is made. Files that are there with the same size are kept.
        top: drop this leading folder where all members have it.

    Returns:
        The number of files unpacked, and the number of others, which are hidden or no data.

    Raises:
        ValueError: damaged, or a member would leave the folder, is a link or a device, replaces a file of another size,
            or the whole is too large.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                return _write_members(_zip_members(zipped, archive.name), archive, folder, top)
        with _open_tar(archive) as bounded, tarfile.open(fileobj=bounded, mode="r:") as tarred:
            return _write_members(_tar_members(tarred, archive.name), archive, folder, top)
    except (zipfile.BadZipFile, tarfile.TarError, *DECODING_ERRORS) as error:
        raise ValueError(f"{archive.name}: not an archive that can be read ({error})") from error


class _SmallReads:
    """A tar's bytes, few at once: `tarfile` reads a header of any length that the archive states into memory."""

    def __init__(self, file: Any) -> None:
        self.file, self.seek, self.tell, self.close = file, file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """As a file's; refuses more than `MOST_HEADER_BYTES`."""
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        content: bytes = self.file.read(size)
        return content


@contextmanager
def _open_tar(archive: Path) -> Iterator[Any]:
    with open(archive, "rb") as file:
        opener = OPENERS.get(file.read(3), partial(open, mode="rb"))
    with opener(archive) as unpacked:
        yield _SmallReads(unpacked)


def _zip_members(zipped: zipfile.ZipFile, archive_name: str) -> Iterator[Member]:
    for info in zipped.infolist():
        if info.is_dir():
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise ValueError(f"{archive_name}: {info.filename!r} is a link or device; nothing was unpacked")
        yield Member(info.filename, info.file_size, partial(zipped.open, info))


def _tar_members(tarred: tarfile.TarFile, archive_name: str) -> Iterator[Member]:
    for info in tarred:
        if info.isdir():
            continue
        if not info.isreg():
            raise ValueError(f"{archive_name}: {info.name!r} is a link or device; nothing was unpacked")
        yield Member(info.name, info.size, partial(_open_tar_member, tarred, info))


def _open_tar_member(tarred: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = tarred.extractfile(info)
    if file is None:
        raise ValueError(f"{info.name!r} has no content")
    return file


def _write_members(members: Iterator[Member], archive: Path, folder: Path, top: str) -> tuple[int, int]:
    checked: dict[str, Member] = {}
    total = 0
    limit = min(MAX_UNPACKED_BYTES, MAX_RATIO * archive.stat().st_size + BLOCK, shutil.disk_usage(archive.parent).free)
    for member in members:
        name = _safe_name(member.name)
        if name is None:
            raise ValueError(f"{archive.name}: {member.name[:200]!r} would leave the folder; nothing was unpacked")
        total += member.size
        if total > limit or len(checked) >= MAX_MEMBERS:
            raise ValueError(f"{archive.name}: unpacks to more than {limit:,} bytes or {MAX_MEMBERS:,} files; refused")
        checked[name] = member
    if top and all(name.startswith(f"{top}/") for name in checked):
        checked = {name.removeprefix(f"{top}/"): member for name, member in checked.items()}
    data = {name: member for name, member in checked.items() if _is_data(name)}
    missing = {name: member for name, member in data.items() if not _is_there(member, archive, folder / name)}
    for name, member in missing.items():
        _write_member(member, archive, folder / name)
    return len(data), len(checked) - len(data)


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in DATA_SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _is_there(member: Member, archive: Path, target: Path) -> bool:
    if not target.exists():
        return False
    if target.is_file() and target.stat().st_size == member.size:
        return True
    raise ValueError(f"{target} is there already and differs from the one in {archive.name}; move it away first")


def _write_member(member: Member, archive: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)

    def copy(file: IO[bytes]) -> None:
        remaining = member.size
        with member.open() as source:
            while remaining >= 0 and (block := source.read(BLOCK)):
                remaining -= len(block)
                file.write(block)
        if remaining != 0:
            raise ValueError(f"{archive.name}: {member.name[:200]!r} does not have the size that the archive states")

    write_atomic(target, copy, durable=False)  # a file that a loss of power cut off is told by its size


def _safe_name(name: str) -> str | None:
    """The path with '/' between its parts, or None where it could point outside its folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    unsafe = any(part == ".." or ":" in part or "\0" in part for part in path.parts)
    return None if unsafe or path.is_absolute() or not path.parts else str(path)
