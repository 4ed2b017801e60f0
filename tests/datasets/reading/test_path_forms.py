"""Paths in data YAMLs and lists as other systems and programs write them: read, or named with where was looked."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples

NAMES = ("a", "b", "\u00e9", "x [2]")
ALL = [f"images/train/{name}.png" for name in sorted(NAMES)]
AB = ["images/train/a.png", "images/train/b.png"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with brackets in its name, and a data set `pets` in it."""
    folder = tmp_path_factory.mktemp("paths") / "site [1]"
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (folder / "pets" / kind / split).mkdir(parents=True)
        for name in NAMES:
            Image.new("RGB", (8, 8)).save(folder / "pets" / "images" / split / f"{name}.png")
            (folder / "pets" / "labels" / split / f"{name}.txt").write_text("0 .5 .5 .2 .2\n")
    return folder


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def images_of(folder: Path, yaml: str | bytes) -> list[str]:
    """The images of train, relative to `pets`; each must have its label."""
    (folder / "set.yaml").write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
    config = load_data_config(folder / "set.yaml")
    samples = load_samples(config, "train", cache_dir=Path("cache"), report=lambda line: None)
    assert len(samples.classes) == len(samples)
    pets = folder if folder.name == "pets" else folder / "pets"
    return [os.path.relpath(path, pets) for path in samples.image_paths]


@pytest.mark.parametrize(
    ("train", "images"),
    [
        ("images\\train", ALL),
        ("'.\\images\\train\\'", ALL),
        ("images/train/*.png", ALL),
        ("images\\train\\*.png", ALL),
        ("images/tr*", ALL),
        ("images/*/a.png", ["images/train/a.png", "images/val/a.png"]),
        ("images/train/[ab].png", AB),
        ("images/train/x [2]*", ["images/train/x [2].png"]),
        ("images/train/a.png", AB[:1]),
        ("[images/train/a.png, images\\train\\b.png]", AB),
    ],
)
def test_entries_of_a_split(site: Path, train: str, images: list[str]) -> None:
    assert images_of(site / "pets", f"train: {train}\nnames: [pet]\n") == images


def test_folders_from_home_variables_and_the_working_folder(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(site))
    monkeypatch.setenv("PETS", str(site / "pets"))
    for yaml in (
        "path: ~/pets\ntrain: images/train\n",
        "path: $PETS\ntrain: images/train\n",
        "train: ${PETS}/images/train\n",
        "train: ~/pets/images/train\n",
        "path: pets\\images\ntrain: train\n",
    ):
        assert images_of(site, yaml + "names: [pet]\n") == ALL
    elsewhere = Path("yamls").absolute()
    elsewhere.mkdir()
    monkeypatch.chdir(site)
    for yaml in ("path: pets\ntrain: images/train\n", "train: pets/images/train\n"):  # as YOLOv5 and darknet do
        (elsewhere / "set.yaml").write_text(yaml + "names: [pet]\n")
        assert load_data_config(elsewhere / "set.yaml").train == (str(site / "pets" / "images" / "train"),)
    (elsewhere / "pets").mkdir()  # beside the YAML comes first
    (elsewhere / "set.yaml").write_text("path: pets\ntrain: images/train\nnames: [pet]\n")
    assert load_data_config(elsewhere / "set.yaml").train == (str(elsewhere / "pets" / "images" / "train"),)


def test_where_was_looked_is_said(site: Path) -> None:
    for yaml, message in {
        "train: images/trian": rf"pets/images/trian \(train of .*\); a relative path is looked for in .*{Path.cwd()}",
        "path: pots\ntrain: images/train": r"pets/pots/images/train \(.*looked for in \S+/site \[1\]/pets/pots$",
        "path: $NO_SUCH\ntrain: images/train": r"; environment variable NO_SUCH not set$",
        "train: images/train/q[1]*.png": r"; \[1\] matches one character; for the brackets themselves write \[\[\]1\]$",
        "train: images/train/*.{jpg,png}": r"; \{jpg,png\} is no pattern: give one pattern for each$",
        "train: D:\\pets\\train": r"; D: is a drive of Windows: give the path on this computer$",
        "path: d:/pets\ntrain: images/train": r"; d: is a drive of Windows: give the path on this computer$",
    }.items():
        with pytest.raises(FileNotFoundError, match=message):
            images_of(site / "pets", yaml + "\nnames: [pet]\n")
    for yaml, message in {
        'train: "images\\train"': "control characters; in double quotes a backslash begins an escape: write / instead",
        'train: "images\\data"': "line 1: found unknown escape character 'd'; in double quotes a backslash begins",
    }.items():
        with pytest.raises(ValueError, match=message):
            images_of(site / "pets", yaml + "\nnames: [pet]\n")


E_ACUTE = f"images/train/{NAMES[2]}.png"
LISTS: dict[str, tuple[bytes, list[str]]] = {
    "backslashes": (b"images\\train\\a.png\r\n.\\images\\train\\b.png\r\n", AB),
    "both slashes": (b"images/train\\a.png\nimages\\train/b.png\n", AB),
    "CR": (b"images/train/a.png\rimages/train/b.png\r", AB),
    "commas": (b"images/train/a.png,images/train/b.png\n", AB),
    "tabs and semicolons": (b"images/train/a.png\timages\\train\\b.png;\n", AB),
    "quotes": (b'"images/train/a.png"\n"images\\train\\b.png"\n', AB),
    "UTF-16": (f"{AB[0]}\n{E_ACUTE}\n".encode("utf-16"), [AB[0], E_ACUTE]),
    "UTF-16 without mark": (f"{AB[0]}\r\n{E_ACUTE}\r\n".encode("utf-16-le"), [AB[0], E_ACUTE]),
    "UTF-8 with mark": (f"{AB[0]}\n{E_ACUTE}\n".encode("utf-8-sig"), [AB[0], E_ACUTE]),
    "Latin-1": (f"{AB[0]}\n{E_ACUTE}\n".encode("latin-1"), [AB[0], E_ACUTE]),
    "macOS": (f"{AB[0]}\n{unicodedata.normalize('NFD', E_ACUTE)}\n".encode(), [AB[0], E_ACUTE]),
    "to the working folder": (b"pets/images/train/a.png\npets\\images\\train\\b.png\n", AB),
    "below darknet's data/": (b"data/images/train/a.png\ndata\\images\\train\\b.png\n", AB),
    "brackets": (b"images/train/x [2].png\n", ["images/train/x [2].png"]),
}


@pytest.mark.parametrize("form", LISTS)
def test_lists(site: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content, images = LISTS[form]
    (site / "pets" / "list.txt").write_bytes(content)
    if form == "to the working folder":
        monkeypatch.chdir(site)
    assert images_of(site / "pets", "train: list.txt\nnames: [pet]\n") == images


def test_a_list_from_windows_is_named(site: Path) -> None:
    (site / "pets" / "list.txt").write_bytes(b"D:\\pets\\images\\a.png\r\n" * 3)
    with pytest.raises(FileNotFoundError, match="a.png: no such image; line dropped; D: is a drive of Windows"):
        images_of(site / "pets", "train: list.txt\nnames: [pet]\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("obj.data", "classes = 1\ntrain = list.txt\nvalid = list.txt\n", "darknet's `valid` is `val` there"),
        ("obj.names", "cat\ndog\n", "these lines as `names`"),
        ("list.txt", "images/train/a.png\n", "write one with `train: list.txt`, `val` and `names`"),
        ("a.json", '{"images": [], "annotations": [], "categories": []}', "write one with `train: a.json` and `val`"),
    ],
)
def test_other_files_than_a_yaml(site: Path, name: str, content: str, message: str) -> None:
    (site / "pets" / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_data_config(site / "pets" / name)


def test_a_folder_in_place_of_its_yaml(site: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is a folder; give a YAML file$"):
        load_data_config(tmp_path)
    (tmp_path / "data.yaml").touch()
    with pytest.raises(FileNotFoundError, match=r"is a folder; give a YAML file, such as data\.yaml$"):
        load_data_config(tmp_path)


def test_a_line_is_looked_for_in_a_fixed_order(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list's folder, `path`, the YAML's folder, the working folder: whatever the lines before it were."""
    picture = (site / "pets" / "images" / "train" / "a.png").read_bytes()
    folders = [tmp_path / name for name in ("lists", "root", "yamls", "working")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for later in range(number + 1):  # 3.png is in all of them, 0.png in the last alone
            (folder / f"{3 - later}.png").write_bytes(picture)
    (folders[0] / "list.txt").write_text("0.png\n1.png\n2.png\n3.png\n")
    (folders[2] / "set.yaml").write_text("path: ../root\ntrain: ../lists/list.txt\nnames: [pet]\n")
    monkeypatch.chdir(folders[3])
    for folder in folders:
        (folder / "3.txt").write_text("0 .5 .5 .2 .2\n")
    samples = load_samples(load_data_config(folders[2] / "set.yaml"), "train", report=lambda line: None)
    assert [Path(path).parent.name for path in samples.image_paths] == ["working", "yamls", "root", "lists"]


def test_a_list_of_which_much_is_not_there(site: Path) -> None:
    pets = site / "pets"
    lines = ["images/train/a.png"] * 57 + ["gone/1.png", "gone/2.png", "gone/3.png"]
    (pets / "list.txt").write_text("\n".join(lines))
    assert images_of(pets, "train: list.txt\nnames: [pet]\n") == AB[:1]  # 3 of 60
    (pets / "list.txt").write_text("\n".join(lines[1:]))
    message = rf"3 of 59 lines name no image; looked in {pets}, {Path.cwd()}; the first: {pets}/list.txt:57: gone/1.png"
    with pytest.raises(FileNotFoundError, match=message.replace("[", r"\[")):
        images_of(pets, "train: list.txt\nnames: [pet]\n")
