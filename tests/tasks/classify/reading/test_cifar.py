"""CIFAR-10 and CIFAR-100 as they are distributed: binary files, and pickles that are not run."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mgil.tasks.classify.reading.config import class_data
from mgil.tasks.classify.reading.pickled import unpickled
from tests.tasks.classify.reading.sets import (
    TEN,
    pictures,
    python2_pickle,
    read,
    values_of,
    write_binary,
    write_cifar10,
)
from tests.trust.limits import bounded


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("below", ["", "cifar-10-batches-py"])
def test_cifar10(tmp_path: Path, pickled: bool, below: str) -> None:
    pixels, labels = write_cifar10(tmp_path / below, pickled)
    data = class_data(str(tmp_path))
    assert data.names == TEN and data.val == data.test
    train, lines = read(tmp_path, "train", strict=True)
    assert train.pixels is not None and train.classes.tolist() == labels and train.classes.dtype == np.int64
    assert np.array_equal(train.pixels, pixels) and train.pixels.flags.c_contiguous
    assert np.array_equal(train.picture(3), pixels[3]) and train.sizes_hw.tolist() == [[32, 32]] * 10
    suffix = "" if pickled else ".bin"
    assert train.image_paths[3] == f"{tmp_path / below / f'data_batch_2{suffix}'}:1"
    assert lines == ["train: 10 images of 10 classes"]
    val, lines = read(tmp_path, "val")
    assert val.classes.tolist() == [3, 1, 9] and np.array_equal(val.picture(2), pictures(3, seed=1)[2])
    assert lines[0] == "val: no images of 7 classes: airplane, bird, deer, dog, frog, ..."


def test_both_forms_have_the_same_content(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "binary")
    write_cifar10(tmp_path / "pickled", pickled=True)
    contents = [read(tmp_path / name, "train")[0].content() for name in ("binary", "pickled")]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("pickled", [False, True])
def test_cifar100(tmp_path: Path, pickled: bool) -> None:
    names = [f"class{number:02d}" for number in range(100)]
    pixels, fine, coarse = pictures(3), [99, 0, 47], [1, 2, 3]
    for split in ("train", "test"):
        if pickled:
            content = {"coarse_labels": coarse, "fine_labels": fine, "data": values_of(pixels), "filenames": ["x"] * 3}
            (tmp_path / split).write_bytes(python2_pickle({**content, "batch_label": split}))
        else:
            write_binary(tmp_path / f"{split}.bin", pixels, coarse, fine)
    meta = {"fine_label_names": names, "coarse_label_names": ["a", "b"]}
    (tmp_path / "meta").write_bytes(python2_pickle(meta))
    (tmp_path / "fine_label_names.txt").write_text("\n".join(names) + "\n")
    (tmp_path / ("fine_label_names.txt" if pickled else "meta")).unlink()
    train = read(tmp_path, "train", strict=True)[0]
    assert train.names == tuple(names) and train.classes.tolist() == fine
    assert np.array_equal(train.picture(0), pixels[0])


def test_a_yaml_names_files_and_orders_classes(tmp_path: Path) -> None:
    _, labels = write_cifar10(tmp_path / "set")
    path = tmp_path / "set.yaml"
    path.write_text("path: set\ntrain: data_batch_*.bin\nval: test_batch.bin\n")
    assert read(path, "train")[0].classes.tolist() == labels
    path.write_text(f"path: set\ntrain: data_batch_*.bin\nval: test_batch.bin\nnames: [{', '.join(reversed(TEN))}]\n")
    assert read(path, "train")[0].classes.tolist() == [9 - label for label in labels]
    path.write_text("path: set\ntrain: data_batch_1.bin\nnames: [aa, bb, cc, dd, ee, ff, gg, hh, ii, jj]\n")
    assert read(path, "train")[0].classes.tolist() == labels[:2]
    path.write_text("path: set\ntrain: data_batch_1.bin\nnames: [a, b, c]\n")
    with pytest.raises(ValueError, match=r"data_batch_1\.bin: record 0 is of class 9, there are 3 names"):
        read(path, "train")
    path.write_text("path: set\ntrain: [data_batch_1.bin, .]\nnames: [a, b, c]\n")
    with pytest.raises(ValueError, match="must be folders with a folder per class, csv lists, or files of"):
        read(path, "train")


def test_shipped_yamls_read_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(class_data("cifar10.yaml").yaml_path).read_text()
    write_cifar10(tmp_path / "cifar-10-batches-bin")
    path = tmp_path / "cifar10.yaml"
    path.write_text(text.replace("../../datasets/", ""))
    assert read(path, "train", strict=True)[0].names == TEN == class_data(str(tmp_path / "cifar-10-batches-bin")).names


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "data_batch_3.bin").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"a part of CIFAR-10; data_batch_3\.bin missing"):
        class_data(str(tmp_path))
    (tmp_path / "elsewhere").rename(tmp_path / "data_batch_3.bin")
    (tmp_path / "batches.meta.txt").unlink()
    with pytest.raises(ValueError, match=r"data_batch_1\.bin: without names, classes are"):
        class_data(str(tmp_path))
    write_cifar10(tmp_path / "cifar-100-python", pickled=True)
    with pytest.raises(ValueError, match="are in .*: give one of them"):
        class_data(str(tmp_path))


@pytest.mark.parametrize("size", [0, 1, 3072, 2 * 3073 - 1, 2 * 3073 + 1])
def test_a_binary_file_that_is_cut_off(tmp_path: Path, size: int) -> None:
    write_cifar10(tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"\1" * size)
    with pytest.raises(ValueError, match=rf"test_batch\.bin: has {size:,} bytes, no whole records .* is it cut off\?"):
        read(tmp_path)


ARRAY = np.arange(6, dtype=np.uint8).reshape(2, 3)


def test_python_reads_the_same_from_what_the_tests_write() -> None:
    """That is, these files are like CIFAR's own."""
    content = {"labels": [1, 2, 300, -4], "data": ARRAY, "batch_label": "x" * 300, "names": ["a", "b"]}
    written = python2_pickle(content)
    ours, theirs = unpickled(written), pickle.loads(written, encoding="latin1")
    assert np.array_equal(ours.pop("data"), ARRAY) and np.array_equal(theirs.pop("data"), ARRAY)
    assert ours == theirs == {name: value for name, value in content.items() if name != "data"}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("array", [ARRAY, np.asfortranarray(ARRAY)])
def test_files_that_python3_wrote_anew(protocol: int, array: np.ndarray) -> None:
    """Its names in NumPy are others, and keys are bytes where the file was read as such."""
    written = pickle.dumps({b"data": array, "labels": [1, 2], b"text": b"abc"}, protocol=protocol)
    found = unpickled(written)
    assert np.array_equal(found["data"], array) and found["labels"] == [1, 2] and found["text"] == "abc"


class Runs:
    """Unpickling it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def nested(depth: int) -> bytes:
    """A tuple of two that are the same tuple of two, and so on: 2 ** depth to whoever walks through."""
    return b"".join(b"q" + bytes([level]) + b"h" + bytes([level]) + b"\x86" for level in range(depth))


HOSTILE = {
    "a name": (
        b"\x80\x02cos\nsystem\n(U\x02idtR.",
        "names 'os system', which no file of CIFAR's does; nothing was run",
    ),
    "a near name": (b"\x80\x02cnumpy.core.multiarray\nfromstring\n(tR.", "names 'numpy.core.multiarray fromstring'"),
    "a call of an array's class": (b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "calls numpy ndarray in a way"),
    "a call of a text": (b"\x80\x02U\x01a)R.", "do not fit together"),
    "an object": (b"\x80\x02(cos\nsystem\noq\0.", "names 'os system'"),
    "an instance": (b"\x80\x02(ios\nsystem\n.", "uses INST"),
    "a number for a name": (b"\x80\x02\x82\x01.", "uses EXT1"),
    "memory elsewhere": (b"\x80\x02U\x01aQ.", "uses BINPERSID"),
    "a state of a list": (b"\x80\x02]}b.", "gives a state to what has none"),
    "no dictionary": (b"\x80\x02K\x01.", "do not fit together"),
    "nothing": (b"\x80\x02.", "do not fit together"),
    "two values": (b"\x80\x02}}.", "do not fit together"),
    "a list as a key": (b"\x80\x02}(]K\x01u.", "do not fit together"),
    "half a pair": (b"\x80\x02}(U\x01au.", ""),
    "below a mark": (b"\x80\x02}(U\x01aK\x01tt.", "do not fit together"),
    "lists in a list": (b"\x80\x02}U\x01a](]]es.", "holds list in a list"),
    "a memo that is not there": (b"\x80\x02h\x07.", "do not fit together"),
    "a memo far away": (b"\x80\x02}r\xff\xff\xff\x7fj\xff\xff\xff\x7e.", "do not fit together"),
    "a text of two gigabytes": (b"\x80\x02T\xff\xff\xff\x7fabc.", "expected 2147483647 bytes"),
    "bytes of many gigabytes": (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.", "expected 1099511627776 bytes"),
    "tuples in tuples as a key": (b"\x80\x02})" + nested(60) + b"K\x01s.", "do not fit together"),
    "tuples in tuples in a list": (b"\x80\x02}U\x01a])" + nested(60) + b"as.", "holds tuple in a list"),
    "tuples in tuples as a value": (b"\x80\x02}U\x01a)" + nested(60) + b"s.", "holds tuple, neither text nor a whole"),
    "a dictionary that holds itself": (b"\x80\x02}q\0U\x01ah\0s.", "holds dict, neither text"),
    "a list that holds itself": (b"\x80\x02}U\x01a]q\0h\0as.", "holds list in a list, neither text"),
    "a truth value": (b"\x80\x02}U\x01a\x88s.", "holds bool, neither text"),
    "a truth value in a list": (b"\x80\x02}U\x01a]\x89as.", "holds bool in a list"),
    "nothing as a value": (b"\x80\x02}U\x01aNs.", "holds nonetype, neither text"),
    "a name as a value": (b"\x80\x02}U\x01acnumpy\ndtype\ns.", "holds name, neither text"),
    "an array in a list": (python2_pickle({"a": [ARRAY]}), "holds array in a list"),
    "many keys": (python2_pickle({str(number): number for number in range(30)}), "holds more than CIFAR's files do"),
    "a damaged number": (b"\x80\x02K", "not enough data"),
    "text": (b"these are no pickles", ""),
    "empty": (b"", "exhausted"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_in_a_line(tmp_path: Path, name: str) -> None:
    content, message = HOSTILE[name]
    write_cifar10(tmp_path, pickled=True)
    path = tmp_path / "test_batch"
    path.write_bytes(content)
    with bounded(5.0, 40.0), pytest.raises(ValueError) as caught:
        read(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{path}: not a file of CIFAR's that can be read (") and message in said and "\n" not in said


def test_nothing_runs(tmp_path: Path) -> None:
    write_cifar10(tmp_path, pickled=True)
    for name in ("batches.meta", "test_batch"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps({"label_names": list(TEN), "labels": [1], "data": Runs(tmp_path / "ran")}, 2))
        with pytest.raises(ValueError, match=r"names 'io open', which no file of CIFAR's does; nothing was run"):
            read(tmp_path)
        write_cifar10(tmp_path, pickled=True)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_cut_off_anywhere(tmp_path: Path) -> None:
    whole = python2_pickle({"labels": [1, 2], "data": ARRAY, "batch_label": "text"})
    assert unpickled(whole)["labels"] == [1, 2]
    for end in range(len(whole)):
        with pytest.raises(ValueError):
            unpickled(whole[:end])


def changed(before: bytes, after: bytes) -> bytes:
    written = python2_pickle({"labels": [1, 2], "data": ARRAY})
    assert written.count(before) == 1
    return written.replace(before, after)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(b"(K\x02K\x03t", b"(J\xff\xff\xff\x7fK\x03t"), "an array of no shape"),
        (changed(b"(K\x02K\x03t", b"(K\x02K\x02t"), "an array of u1 that claims (2, 2) elements in 6 bytes"),
        (changed(b"(K\x02K\x03t", b"(J\xff\xff\xff\xffJ\xfa\xff\xff\xfft"), "an array of no shape"),
        (changed(b"(K\x02K\x03t", b"(K\x02)K\x03t"), "an array of no shape"),
        (changed(b"(K\x02K\x03t", b"K\x06"), "do not fit together"),
        (changed(b"(K\x02K\x03t", b"(U\x01aK\x03t"), "an array of no shape"),
        (changed(b"U\x02u1", b"U\x02O8"), "an array of O8 that claims"),
        (python2_pickle({"a": ARRAY, "b": ARRAY}), "holds more than CIFAR's files do"),
        (python2_pickle({"a": "x" * 2000}), ""),
        (python2_pickle({"x" * 2000: 1}), "a text that is too long"),
    ],
)
def test_arrays_that_are_not_what_they_claim(content: bytes, message: str) -> None:
    if not message:
        assert unpickled(content)["a"] == "x" * 2000
        return
    with pytest.raises(ValueError) as caught:
        unpickled(content)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "has no labels of CIFAR's"),
        ({"labels": [1, 2, 300]}, "has no labels of CIFAR's"),
        ({"labels": [1, 2, "3"]}, "has no labels of CIFAR's"),
        ({"labels": [1, 2, True]}, "not a file of CIFAR's that can be read .holds bool in a list"),
        ({"labels": []}, "has no labels of CIFAR's"),
        ({"labels": [1, 2]}, "has no 2 pictures of 3,072 values for its labels"),
        ({"data": np.zeros((3, 100), np.uint8)}, "has no 3 pictures"),
        ({"data": [1, 2]}, "has no 3 pictures"),
        ({"labels": [1, 2, 10]}, "record 2 is of class 10, there are 10 names"),
    ],
)
def test_content_that_is_not_cifars(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_cifar10(tmp_path, pickled=True)
    content = {"labels": [1, 2, 3], "data": values_of(pictures(3)), **changes}
    kept = {name: value for name, value in content.items() if value is not None}
    (tmp_path / "test_batch").write_bytes(python2_pickle(kept))
    with pytest.raises(ValueError, match=f"test_batch: {message}"):
        read(tmp_path)
