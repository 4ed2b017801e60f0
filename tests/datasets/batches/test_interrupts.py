"""Ctrl-C at a moment that does not suit."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from mgil.datasets.batches.interrupts import interrupts_held


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), interrupts_held():
        os.kill(os.getpid(), signal.SIGINT)
        done = True
    assert done
    with pytest.raises(KeyboardInterrupt):  # and the next one does not
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("not interrupted")


def test_nothing_happens_without_one() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts_held():
        pass
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_it_does_nothing() -> None:
    ran = []

    def work() -> None:
        with interrupts_held():
            ran.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [signal.getsignal(signal.SIGINT)]
