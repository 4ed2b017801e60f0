"""What the values of arrays mean, against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mgil.datasets.reading.pixels import rgb_of
from mgil.datasets.reading.value_range import ValueRange, range_of

GREY = np.array([[0, 1, 127], [128, 254, 255]], np.uint8)
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
ALPHA = np.full((5, 7, 1), 9, np.uint8)
THREE = np.stack([GREY] * 3, axis=2)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GREY, THREE),
        (GREY[..., None], THREE),
        (np.stack([GREY, GREY // 3], axis=2), THREE),
        (RGB, RGB),
        (np.dstack([RGB, ALPHA]), RGB),
        (GREY.astype(np.uint16) * 257, THREE),
        ((GREY.astype(np.uint16) * 256 + 255).astype(">u2"), THREE),
        (RGB.astype(np.uint16) << 8, RGB),
        (np.dstack([RGB, ALPHA]).astype(np.uint16) * 257, RGB),
        (GREY > 127, np.where(THREE > 127, 255, 0)),
        (RGB[::-1, ::2], RGB[::-1, ::2].copy()),
        (np.asfortranarray(RGB), RGB),
        (np.ma.masked_array(RGB, RGB > 9), RGB),
        (np.broadcast_to(RGB[:1], (4, 7, 3)), np.repeat(RGB[:1], 4, axis=0)),
        (RGB[:1, :1], RGB[:1, :1]),
        (np.arange(24, dtype=np.uint8).reshape(3, 4, 2), np.arange(0, 24, 2).reshape(3, 4, 1).repeat(3, axis=2)),
    ],
)
def test_an_array_is_the_picture_that_it_holds(array: np.ndarray, expected: np.ndarray) -> None:
    before = np.array(array)
    found = rgb_of(array)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.asarray(array), before)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (RGB / 255, "array of float64: floating point pixels have no fixed brightness; convert the image to 8 or 16"),
        (np.zeros((4, 4), np.float16), "array of float16: floating point"),
        (np.zeros((4, 4), np.int32), "array of int32: 32-bit pixels have no fixed"),
        (np.zeros((4, 4), np.uint64), "array of uint64: 64-bit pixels"),
        (np.zeros((4, 4), np.int8), "array of int8: signed 8-bit pixels"),
        (np.zeros((4, 4), np.int16), "array of int16: signed 16-bit pixels"),
        (np.zeros((4, 4), complex), "array of complex128: such pixels"),
        (np.array([["a"]]), "array of <U1: such pixels"),
        (np.array([[None]]), "array of object: such pixels"),
        (np.zeros((0, 4, 3), np.uint8), r"array of shape \(0, 4, 3\) has no pixels \(0x4\)"),
        (np.zeros((4, 0), np.uint8), r"array of shape \(4, 0\) has no pixels \(4x0\)"),
        (np.zeros((4, 4, 0), np.uint8), "has no pixels"),
        (np.zeros((3, 4, 6), np.uint8), r"array of shape \(3, 4, 6\): .*turn it: array.transpose\(1, 2, 0\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), "give several as a list"),
        (np.zeros((5, 5, 5), np.uint8), r"array of shape \(5, 5, 5\): an image is \(height, width, 3\) RGB"),
        (np.zeros(4, np.uint8), r"array of shape \(4,\): an image is"),
        (np.uint8(4)[()], r"array of shape \(\): an image is"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(array: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rgb_of(np.asarray(array))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_bits_scale_all_values(bits: int) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    seen: list[tuple[int, int]] = []
    found = rgb_of(values, ValueRange.of_bits(bits), lambda *extent: seen.append(extent))
    white = 2**bits - 1
    exact = np.minimum(values / white, 1) * 255
    assert np.abs(found[..., 0] - exact).max() <= 0.5 + 1e-9
    assert found[0, 0, 0] == 0 and found.reshape(-1, 3)[white].tolist() == [255] * 3
    assert seen == [(0, 65535)]


def test_a_range_has_two_ends_and_8_bits_have_none() -> None:
    values = np.array([[0, 29000, 29004, 30000, 31000, 65535]], np.uint16)
    found = rgb_of(values, ValueRange(29000, 31000))
    assert found[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]  # 127.5 goes to the even one
    np.testing.assert_array_equal(rgb_of(GREY, ValueRange(29000, 31000)), THREE)


@pytest.mark.parametrize(
    ("bits", "ends", "expected"),
    [
        (None, None, None),
        (12, None, ValueRange(0, 4095)),
        (np.int64(8), None, ValueRange(0, 255)),
        (None, [3, 9], ValueRange(3, 9)),
        (None, (0, 65535), ValueRange(0, 65535)),
    ],
)
def test_a_range_by_bits_or_by_ends(bits: Any, ends: Any, expected: ValueRange | None) -> None:
    assert range_of(bits, ends) == expected


@pytest.mark.parametrize("bits", [7, 17, "twelve", "12", 12.0, True, [12], -12, 10**30])
def test_bits_that_cannot_be(bits: Any) -> None:
    with pytest.raises(ValueError, match=r"^bits is .*, must be a whole number from 8 to 16"):
        range_of(bits, None)


@pytest.mark.parametrize(
    "ends", [[], [5], [1, 2, 3], [5, 5], [9, 3], [-1, 9], [0, 65536], [0.5, 9], ["0", "9"], [True, 9], "0 9", 9, {}]
)
def test_ends_that_cannot_be(ends: Any) -> None:
    with pytest.raises(ValueError, match="^range is .*, must be two whole numbers, 0 <= lowest < highest <= 65535"):
        range_of(None, ends)
    with pytest.raises(ValueError, match="bits and range both say"):
        range_of(12, ends)
