"""YOLOv5's weights by name: where they are, and fetching them when asked."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgil import load_model
from mgil.engine.command import COMMANDS
from mgil.engine.weights import released
from mgil.engine.weights.checkpoints import load_checkpoint, save_checkpoint
from mgil.engine.weights.released import fetch_weights
from mgil.networks.detector import build_model
from tests.engine.tiny import TINY
from tests.web import serving

RELEASE = "https://github.com/ultralytics/yolov5/releases/download/v7.0"
OF_N = "4f180cf23ba0717ada0badd6c685026d73d48f184d00fc159c2641284b2ac0a3"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights to serve."""
    path = tmp_path_factory.mktemp("made") / "made.pt"
    save_checkpoint(path, build_model(TINY, names=("a", "b"), imgsz=32), {})
    return path


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that stands for the release; the working folder is another one."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(released, "SHA256", {})
    folder, home = tmp_path / "served", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    monkeypatch.chdir(home)
    with serving(folder) as url:
        monkeypatch.setattr(released, "RELEASE", url)
        yield folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yolov5n.pt", (f"{RELEASE}/yolov5n.pt", f"sha256: {OF_N}", "--download", "download=True")),
        ("some/where/yolov5x6.pt", (f"{RELEASE}/yolov5x6.pt", "sha256: not known", "--download")),
        ("yolov5s-seg.pt", ("only detectors and classifiers load",)),
        ("yolov8n.pt", ("nothing is downloaded",)),
        ("yolov5n.pt.bak", ("nothing is downloaded",)),
        ("yolov5q.pt", ("nothing is downloaded",)),
    ],
)
def test_weights_that_are_not_there(tmp_path: Path, name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(FileNotFoundError, match="do not exist") as caught:
        load_checkpoint(tmp_path / name)
    assert all(word in str(caught.value) for word in (str(tmp_path / name), *words))


def test_best_of_a_run_that_has_none(tmp_path: Path) -> None:
    (tmp_path / "last.pt").touch()
    with pytest.raises(FileNotFoundError, match=rf"best.pt do not exist: .*; take {tmp_path / 'last.pt'}$"):
        load_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("https://example.org/yolov5n.pt", "do not exist: no URL is read; fetch the file"),
        ("yolov5n6", "weights yolov5n6 do not exist; did you mean yolov5n6.pt?"),
    ],
)
def test_what_is_nearly_a_name(given: str, message: str) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        load_checkpoint(given)


def test_the_known_sha256_is_that_of_the_file(official_weights: Path) -> None:
    assert hashlib.sha256(official_weights.read_bytes()).hexdigest() == OF_N == released.SHA256["yolov5n.pt"]


@pytest.mark.parametrize("line", ["train --epochs 1", "val", "detect --source .", "export"])
def test_every_command_fetches_them_when_asked(served: Path, capsys: pytest.CaptureFixture[str], line: str) -> None:
    """What is served is an empty archive: the command ends after it has fetched it, with what is wrong with it."""
    empty = b"PK\5\6" + bytes(18)
    (served / "yolov5s.pt").write_bytes(empty)
    word, *flags = line.split()
    for download, said in ((False, "do not exist"), (True, "yolov5s.pt: not a PyTorch checkpoint")):
        with pytest.raises(SystemExit):
            COMMANDS[word]([*flags, "--weights", "yolov5s.pt", "--device", "cpu"] + ["--download"] * download, word)
        output = capsys.readouterr()
        assert said in output.err
        assert ("yolov5s.pt: downloading" in output.out) == download
    assert Path("yolov5s.pt").read_bytes() == empty


def test_python_fetches_them_when_asked(served: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(made, served / "yolov5m.pt")
    model = load_model("new/yolov5m.pt", device="cpu", download=True)
    assert model.names == ("a", "b")
    url, line = capsys.readouterr().out.splitlines()
    assert url == f"{released.RELEASE}/yolov5m.pt: downloading"
    assert hashlib.sha256(made.read_bytes()).hexdigest() in line
    assert [path.name for path in Path("new").iterdir()] == ["yolov5m.pt"]


def test_nothing_is_overwritten(served: Path, made: Path, tmp_path: Path) -> None:
    shutil.copy(made, served / "yolov5s.pt")
    lines: list[str] = []
    Path("yolov5s.pt").write_bytes(b"the user's")
    Path("yolov5l.pt").symlink_to(tmp_path / "nowhere")
    Path("other.pt").write_bytes(b"")
    before = sorted(Path().iterdir())
    for name in ("yolov5s.pt", "yolov5l.pt", "other.pt", "yolov5s-seg.pt", "", "https://example.org/yolov5s.pt"):
        fetch_weights(name, lines.append)
    assert not lines and sorted(Path().iterdir()) == before
    assert Path("yolov5s.pt").read_bytes() == b"the user's" and not (tmp_path / "nowhere").exists()


def test_a_file_that_came_meanwhile_stays(served: Path, made: Path) -> None:
    shutil.copy(made, served / "yolov5s.pt")
    fetch_weights("yolov5s.pt", lambda _: Path("yolov5s.pt").write_bytes(b"the user's"))
    assert Path("yolov5s.pt").read_bytes() == b"the user's"


def test_what_goes_wrong_leaves_nothing(served: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = made.read_bytes()
    cases = {
        "a page in its place": ("yolov5s.pt", b"<html>log in first</html>", ValueError, "is no PyTorch checkpoint"),
        "another file": ("yolov5m.pt", content, ValueError, f"its sha256 is {hashlib.sha256(content).hexdigest()}"),
        "no such file": ("yolov5l.pt", None, OSError, "yolov5l.pt: cannot be downloaded .*404"),
    }
    monkeypatch.setattr(released, "SHA256", {"yolov5m.pt": "0" * 64})
    for name, body, kind, message in cases.values():
        if body is not None:
            (served / name).write_bytes(body)
        with pytest.raises(kind, match=message):
            fetch_weights(name, lambda _: None)
    refused = r"cannot be downloaded \(\[Errno \d+\] Connection refused\)"
    for release, message in (("short", "ended after 2 of 1,000 bytes"), ("http://127.0.0.1:9", refused)):
        monkeypatch.setattr(released, "RELEASE", f"{released.RELEASE}/short" if release == "short" else release)
        with pytest.raises(OSError, match=message):
            fetch_weights("yolov5x.pt", lambda _: None)
    assert list(Path().iterdir()) == []


def test_a_folder_that_cannot_be_is_named(served: Path, made: Path) -> None:
    shutil.copy(made, served / "yolov5s.pt")
    Path("file").write_bytes(b"")
    with pytest.raises(OSError, match=r"file/yolov5s\.pt"):
        fetch_weights("file/yolov5s.pt", lambda _: None)
