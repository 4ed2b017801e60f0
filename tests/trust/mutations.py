"""Changing bytes at random, as hypothesis wants it: the same in every run, unless MGIL_FUZZ asks for more."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mgil.engine.cli import USER_ERRORS, describe

FACTOR = float(os.environ.get("MGIL_FUZZ", "1"))  # 50: fifty times as many examples, other ones in each run
SECONDS = 6.0  # of one example
# What upsets readers of text.
TOKENS = [
    *(b"nan", b"-inf", b"1e999", b"-1", b"0", b"0x_", b"1_000", b"9" * 30, b"1e-320", b"1.5", b"None", b"True"),
    *(b"\xff\xfe", b"\0", b"\r", b"\n", b"\t", b" ", b"\xe2\x80\xae", b"\x1b[2J", b"\xed\xa0\x80", b"\\u0000"),
    *(b"[", b"]", b"{", b"}", b":", b": ", b"- ", b"? ", b"#", b"'", b'"', b"|\n ", b">\n", b"[[[[[[[["),
    *(b"&a ", b"*a", b"<<: *a\n", b"<<: {}", b"!!python/none", b"!!int ", b"!!float x", b"!!set {a, b}"),
    *(b"!!binary x", b"!!omap [a: 1]", b"!!timestamp 1", b"2020-13-01", b"true", b"null", b"~", b"---\n"),
    *(b"..", b"../", b"/", b"%s", b"{0}"),
]

Edit = tuple[str, int, int, bytes]
edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "delete", "insert", "repeat", "cut", "move"]),
        st.integers(0, (1 << 32) - 1),
        st.integers(0, 255),
        st.one_of(st.sampled_from(TOKENS), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=6,
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["nc", "anchors", "None", "Conv", "Detect", "nearest", -1, 0, 1, 10**9, float("nan"), "\x1b[2J\n"]),
)
values = st.recursive(
    scalars,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=6), below, max_size=3),
    max_leaves=8,
)


def examples(count: int) -> settings:
    """Settings of a fuzz test with so many examples in CI."""
    return settings(
        max_examples=round(count * FACTOR),
        derandomize=FACTOR == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def mutated(content: bytes, changes: Sequence[Edit]) -> bytes:
    """Bytes after some edits, each at a place that its numbers choose."""
    for kind, where, amount, new in changes:
        place = where % (len(content) + 1)
        head, tail = content[:place], content[place:]
        if kind == "set":
            content = head + new + tail[len(new) :]
        elif kind == "flip" and tail:
            content = head + bytes([tail[0] ^ (amount or 1)]) + tail[1:]
        elif kind == "delete":
            content = head + tail[1 + amount % 40 :]
        elif kind == "insert":
            content = head + new + tail
        elif kind == "repeat":
            content = head + tail[:20] * (1 + amount % 20) + tail
        elif kind == "cut":
            content = head if amount > 200 else content
        elif kind == "move":
            start = (where >> 8) % (len(content) + 1)
            content = head + content[start : start + amount] + tail
    return content


def mutated_zip(content: bytes, which: int, changes: Sequence[Edit]) -> bytes:
    """A zip in which the bytes of one entry were edited; its checksums are right, so that readers look further."""
    made = BytesIO()
    with zipfile.ZipFile(BytesIO(content)) as old, zipfile.ZipFile(made, "w") as new:
        entries = old.infolist()
        for number, entry in enumerate(entries):
            data = old.read(entry)
            new.writestr(entry.filename, mutated(data, changes) if number == which % len(entries) else data)
    return made.getvalue()


def survives(action: Callable[[], Any]) -> str:
    """Run a reader: it may succeed ("") or refuse in one line, which is returned; all else fails the test."""
    start = time.process_time()
    said = ""
    try:
        action()
    except USER_ERRORS as error:
        said = describe(error)
        assert said.isprintable() and 0 < len(said) < 2000, said
        assert "\n" not in str(error), str(error)
    assert time.process_time() - start < SECONDS
    return said
