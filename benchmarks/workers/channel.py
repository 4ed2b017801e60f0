"""Requests over standard input, answers over standard output, one JSON object a line.

A worker is a process of its own, so that each project runs in its own environment with its own libraries, and waits
while another is measured. Needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Handlers = dict[str, Callable[..., Any]]


class Channel:
    """The worker's end. What libraries print goes to standard error, where it cannot be taken for an answer."""

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def answer(self, result: Any) -> None:
        """Send the result of the request that was read last."""
        self._send({"result": result})

    def serve(self, handlers: Handlers, until: str | None = None) -> dict[str, Any]:
        """Answer requests.

        Args:
            handlers: by name; called with the request's arguments.
            until: name of a request that is not handled here.

        Returns:
            The arguments of the request `until`. The process ends when there are no more requests.
        """
        for line in sys.stdin:
            request = json.loads(line)
            name = request.pop("call")
            if name == until:
                return request
            try:
                result = handlers[name](**request)
            except Exception as error:  # whatever a peer raises is to be read where the requests come from
                self._send({"error": f"{type(error).__name__}: {error}"})
            else:
                self.answer(result)
        sys.exit(0)

    def _send(self, message: dict[str, Any]) -> None:
        self._answers.write(json.dumps(message) + "\n")
        self._answers.flush()


def handlers_of(worker: Any) -> Handlers:
    """The public methods of a worker, by name."""
    names = [name for name in dir(worker) if not name.startswith("_")]
    return {name: getattr(worker, name) for name in names if callable(getattr(worker, name))}


class Shapes:
    """Notes the input shapes of a network while something runs, to time the same forward passes alone afterwards.

    Args:
        hook: `torch.nn.modules.module.register_module_forward_pre_hook`.
        kind: class of the network.
    """

    def __init__(self, hook: Callable[..., Any], kind: type) -> None:
        self.kind = kind
        self.network: Any = None
        self.seen: list[tuple[int, ...]] = []
        self._handle = hook(self._note)

    def _note(self, module: Any, inputs: tuple[Any, ...]) -> None:
        if type(module) is self.kind and inputs:
            self.network = module
            self.seen.append(tuple(inputs[0].shape))

    def seconds_alone(self, make_input: Callable[[tuple[int, ...]], Any]) -> float:
        """Run the network on inputs of the shapes seen, with nothing beside it."""
        self._handle.remove()
        total = 0.0
        for shape in self.seen:
            image = make_input(shape)
            started = time.perf_counter()
            self.network(image)
            total += time.perf_counter() - started
        return total


def use_one_core() -> None:
    """Stay on one core, where the system allows to ask for that: an image per second and core is meant."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
