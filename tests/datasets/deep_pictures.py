"""Files of pictures that no program here writes: TIFFs, PNGs and PGMs of any depth, made byte by byte."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SHORT, LONG = 3, 4  # types of a TIFF's fields


def tiff(pixels: np.ndarray, *, bits: int = 16, order: str = "<", photometric: int = 1, turn: int = 1) -> bytes:
    """A plain TIFF of (H, W, C) or (H, W) values.

    Args:
        pixels: Of up to `bits` bits; 12 are packed, for an even width.
        bits: 8, 12 or 16.
        order: "<" or ">", of its bytes.
        photometric: Of grey, 0: white is zero, 1: black is zero.
        turn: EXIF orientation.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    if bits == 12:
        first, second = pixels.reshape(-1, 2).astype(np.uint32).T
        packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
        content = packed.astype(np.uint8).tobytes()
    else:
        content = pixels.astype(f"{order}u{bits // 8}").tobytes()
    start = 8 + len(content)
    fields = [
        (256, SHORT, [width]),
        (257, SHORT, [height]),
        (258, SHORT, [bits] * channels),
        (259, SHORT, [1]),
        (262, SHORT, [2 if channels > 2 else photometric]),
        (273, LONG, [8]),
        (274, SHORT, [turn]),
        (277, SHORT, [channels]),
        (278, SHORT, [height]),
        (279, LONG, [len(content)]),
        *([(338, SHORT, [2])] if channels in (2, 4) else []),
    ]
    table, beyond = b"", b""
    after = start + 2 + 12 * len(fields) + 4
    for tag, kind, numbers in fields:
        value = struct.pack(f"{order}{len(numbers)}{'H' if kind == SHORT else 'I'}", *numbers)
        if len(value) > 4:
            value, beyond = struct.pack(f"{order}I", after + len(beyond)), beyond + value
        table += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + content + struct.pack(f"{order}H", len(fields)) + table + b"\0\0\0\0" + beyond


def png(pixels: np.ndarray) -> bytes:
    """A PNG of (H, W, C) uint16: grey, grey and alpha, RGB, or RGB and alpha."""
    height, width, channels = pixels.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def pgm(pixels: np.ndarray, white: int) -> bytes:
    """A PGM of (H, W) values up to `white`, more than 255."""
    height, width = pixels.shape
    return f"P5 {width} {height} {white}\n".encode() + pixels.astype(">u2").tobytes()
