"""Downloads: only archives, only when asked, never outside the data set's folder, and no text is ever executed."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mgil.datasets.reading.config import DataConfig, load_data_config
from mgil.datasets.reading.download import download, download_absent, read_sources, unpack
from tests.web import serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as url:
        yield url, folder


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in others:
            archive.addfile(info)
    return path


def config_of(folder: Path, entry: str) -> DataConfig:
    folder.mkdir(exist_ok=True)
    (folder / "set.yaml").write_text(f"path: pets\ntrain: images/train\nnames: [a]\ndownload: {entry}\n")
    return load_data_config(folder / "set.yaml")


PETS = {"pets/images/train/a.png": b"picture", "pets/labels/train/a.txt": b"0 .5 .5 .1 .1\n"}


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["pets.zip", "moved.zip", "pets.tar.gz"])
def test_an_archive_is_fetched_and_unpacked_into_the_root(server: tuple[str, Path], tmp_path: Path, name: str) -> None:
    url, served = server
    make_zip(served / "pets.zip", PETS)
    make_tar(served / "pets.tar.gz", PETS)
    lines: list[str] = []
    config = config_of(tmp_path / "user", f"{url}/{name}")
    again = download(config, lines.append)
    assert again == config
    assert files_in(config.root) == {name.removeprefix("pets/"): content for name, content in PETS.items()}
    assert lines == [f"{url}/{name}: downloading", f"{url}/{name}: 2 files unpacked into {config.root}"]
    download(config, lines.append)  # what is there already is kept
    assert len(files_in(config.root)) == 2


def test_a_list_with_folders_and_checksums(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    make_zip(served / "labels.zip", {"labels/train/a.txt": b""})
    archive = make_zip(served / "train.zip", {"train/a.png": b"picture"})
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    entry = f"[{url}/labels.zip, {{url: {url}/train.zip, to: images, sha256: {digest.upper()}}}]"
    config = config_of(tmp_path / "user", entry)
    assert config.download == f"{url}/labels.zip\n{url}/train.zip"
    download(config, lambda line: None)
    assert files_in(config.root) == {"labels/train/a.txt": b"", "images/train/a.png": b"picture"}
    wrong = config_of(tmp_path / "other", f"{{url: {url}/train.zip, sha256: '{'0' * 64}'}}")
    with pytest.raises(ValueError, match=f"its sha256 is {digest}, not 000.*nothing was unpacked"):
        download(wrong, lambda line: None)
    assert not wrong.root.exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gone.zip", "gone.zip: cannot be downloaded .*404"),
        ("to-file.zip", "to-file.zip: cannot be downloaded"),
        ("to-ftp.zip", "redirected to ftp://127.0.0.1/a, which is not followed"),
        ("short.zip", "short.zip: the connection ended after 2 of 1,000 bytes|short.zip: cannot be downloaded"),
    ],
)
def test_failures_of_the_network(server: tuple[str, Path], tmp_path: Path, path: str, message: str) -> None:
    config = config_of(tmp_path / "user", f"{server[0]}/{path}")
    with pytest.raises(OSError, match=message):
        download(config, lambda line: None)
    assert not config.root.exists()


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(OSError, match="http://127.0.0.1:9/a.zip: cannot be downloaded"):
        download(config_of(tmp_path, "http://127.0.0.1:9/a.zip"), lambda line: None)


def test_a_download_larger_than_allowed_is_stopped(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_zip(server[1] / "pets.zip", PETS)
    monkeypatch.setattr("mgil.files.fetch.MOST_BYTES", 50)
    with pytest.raises(ValueError, match="pets.zip: larger than the 50 bytes"):
        download(config_of(tmp_path / "user", f"{server[0]}/pets.zip"), lambda line: None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", "has no download entry"),
        (
            "|\n  import os\n  os.mkdir('was-run')",
            r"never executed; do by hand what it says: import os os.mkdir\('was-run'\)",
        ),
        ("bash data/scripts/get_pets.sh", "never executed; do by hand what it says: bash data/scripts"),
        ("[https://example.org/a.zip, mkdir was-run]", "never executed.*mkdir was-run"),
        ("file:///etc/passwd.zip", "is not a URL"),
        ("ftp://example.org/a.zip", "is not a URL"),
        ("'https:///a.zip'", "is not a URL"),
        ("https://example.org/a.exe", "https://example.org/a.exe is not an archive"),
        ("{url: https://example.org/a.zip, to: ../up}", r"to '\.\./up' leaves the data set's folder"),
        ("{url: https://example.org/a.zip, to: /etc}", "leaves the data set's folder"),
        ("{url: https://example.org/a.zip, run: x}", "must be a URL or have the keys url, to and sha256"),
        ("{to: images}", "is not a URL"),
        ("[3]", "must be a URL or have"),
    ],
)
def test_entries_that_are_refused_before_anything_is_fetched(tmp_path: Path, entry: str, message: str) -> None:
    config = config_of(tmp_path / "user", entry)
    with pytest.raises(ValueError, match=message) as caught:
        download(config, lambda line: None)
    assert "set.yaml" in str(caught.value) and "\n" not in str(caught.value)
    assert not config.root.exists() and not Path("was-run").exists()


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def zip_with_link(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def damaged(path: Path) -> Path:
    make_zip(path, {"a.txt": b"text" * 1000})
    content = bytearray(path.read_bytes())
    content[500] ^= 0xFF
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: make_zip(path, {"ok.txt": b"", "../evil.txt": b"x"}), r"'\.\./evil.txt' would leave the folder"),
        (lambda path: make_zip(path, {"/evil.txt": b"x"}), "would leave the folder"),
        (lambda path: make_zip(path, {"a\\..\\..\\evil.txt": b"x"}), "would leave the folder"),
        (lambda path: make_zip(path, {"C:/evil.txt": b"x"}), "would leave the folder"),
        (zip_with_link, "'link' is a link or device"),
        (lambda path: make_tar(path, {"../evil.txt": b"x"}), "would leave the folder"),
        (lambda path: make_tar(path, {"/tmp/evil.txt": b"x"}), "would leave the folder"),
        (lambda path: make_tar(path, {}, link("a", tarfile.SYMTYPE, "/etc")), "'a' is a link or device"),
        (lambda path: make_tar(path, {}, link("a", tarfile.LNKTYPE, "../b")), "'a' is a link or device"),
        (lambda path: make_tar(path, {}, link("a", tarfile.FIFOTYPE, "")), "'a' is a link or device"),
        (lambda path: path.write_bytes(b"neither") and path, "not an archive that can be read"),
        (lambda path: path.write_bytes(b"") or path, "not an archive that can be read"),
    ],
)
def test_unsafe_archives_write_nothing(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    archive = make(tmp_path / "archive.bin")
    with pytest.raises(ValueError, match=message):
        unpack(archive, tmp_path / "deep" / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["archive.bin"]


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * (64 << 20))
    with pytest.raises(ValueError, match="bomb.zip: unpacks to more than"):
        unpack(path, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_damaged_member_is_an_error_and_leaves_no_half_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not an archive that can be read"):
        unpack(damaged(tmp_path / "a.zip"), tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path: Path) -> None:
    """A member's extended header may have any length; a few kilobytes would unpack to it."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(64 << 20))
    with pytest.raises(
        ValueError, match=r"a\.tar\.gz: not an archive that can be read \(a header of 4,294,967,296 bytes\)"
    ):
        unpack(tmp_path / "a.tar.gz", tmp_path / "folder")


def test_programs_and_hidden_files_stay_in_the_archive(tmp_path: Path) -> None:
    """A data set's `path` may name any folder, also one in which something looks for programs or settings."""
    others = {".bashrc": b"x", ".config/autostart/a.desktop": b"x", "torch.py": b"x", "bin/a.sh": b"x", "a.pth": b"x"}
    archive = make_zip(tmp_path / "a.zip", {"pets/images/a.JPG": b"x", "pets/LICENSE": b"x", **others})
    assert unpack(archive, tmp_path / "folder") == (2, len(others))
    assert set(files_in(tmp_path / "folder")) == {"pets/images/a.JPG", "pets/LICENSE"}


def test_a_file_that_differs_is_not_replaced(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"first.txt": b"new", "notes.txt": b"theirs"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine!!!")
    with pytest.raises(ValueError, match="notes.txt is there already and differs"):
        unpack(archive, tmp_path / "folder")
    assert (tmp_path / "folder" / "notes.txt").read_text() == "mine!!!"
    assert not (tmp_path / "folder" / "first.txt").exists()


def test_the_top_folder_is_dropped_only_where_all_members_have_it(tmp_path: Path) -> None:
    unpack(make_zip(tmp_path / "a.zip", {"pets/a": b"1", "pets/b": b"2"}), tmp_path / "one", "pets")
    assert set(files_in(tmp_path / "one")) == {"a", "b"}
    unpack(make_zip(tmp_path / "b.zip", {"pets/a": b"1", "readme": b"2"}), tmp_path / "two", "pets")
    assert set(files_in(tmp_path / "two")) == {"pets/a", "readme"}


@pytest.mark.parametrize("name", ["coco.yaml", "coco128.yaml", "voc.yaml", "hituav.yaml"])
def test_the_shipped_entries_are_accepted(name: str) -> None:
    from mgil.datasets.reading.config import SHIPPED_FOLDER
    from mgil.files.yaml_file import read_yaml_mapping

    path = SHIPPED_FOLDER / name
    assert read_sources(read_yaml_mapping(path)["download"], path)


@pytest.mark.parametrize("convert", ["kitti", "[voc]", "{voc: 1}"])
def test_an_unknown_conversion(tmp_path: Path, convert: str) -> None:
    config = config_of(tmp_path, f"http://127.0.0.1:9/a.zip\nconvert: {convert}")
    with pytest.raises(ValueError, match="convert: .* is not known; voc and hituav are"):
        download(config, lambda line: None)


def test_files_of_pixels_and_a_way_to_read_anew(server: tuple[str, Path], tmp_path: Path) -> None:
    """CIFAR's archive holds .bin files; a set of classes is read again by its own rules."""
    url, served = server
    files = {"cifar/data_batch_1.bin": b"\1\2", "cifar/batches.meta.txt": b"a\nb\n", "cifar/readme.html": b"<html>"}
    make_tar(served / "cifar.tar.gz", files)
    (tmp_path / "set.yaml").write_text(
        f"path: cifar\ntrain: data_batch_1.bin\nnames: [a, b]\ndownload: {url}/cifar.tar.gz\n"
    )
    config = load_data_config(tmp_path / "set.yaml")
    lines: list[str] = []
    asked: list[Path] = []

    def read_again(path: Path) -> DataConfig:
        asked.append(path)
        return config

    assert download_absent(config, ("train",), lines.append, read_again) is config
    assert asked == [tmp_path / "set.yaml"]
    assert files_in(config.root) == {"data_batch_1.bin": b"\1\2", "batches.meta.txt": b"a\nb\n"}
    assert lines[-1].endswith("; 1 that are neither images nor labels were not")
    assert download_absent(config, ("train",), lines.append, read_again) is config and len(asked) == 1
