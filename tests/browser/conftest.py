"""The page's JavaScript, run by node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NODE = shutil.which("node")
RUNNER = Path(__file__).with_name("modules.mjs")


@pytest.fixture(scope="module")
def call() -> Iterator[Callable[..., Any]]:
    """Run one function of the page; raises ValueError with the message that it threw."""
    if NODE is None:
        pytest.skip("node is not installed")
    with subprocess.Popen([str(NODE), RUNNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdin is not None and node.stdout is not None
        questions, answers = node.stdin, node.stdout

        def ask(name: str, **arguments: Any) -> Any:
            questions.write(json.dumps({"call": name, **arguments}) + "\n")
            questions.flush()
            answer = json.loads(answers.readline())
            if "error" in answer:
                raise ValueError(answer["error"])
            return answer["value"]

        yield ask
