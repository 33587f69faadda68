"""Ctrl-C in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from android_harness.interruption import interrupt, pause, shielded


def running(work: Callable[[Callable[[], None]], None]) -> tuple[threading.Thread, list[str]]:
    """A thread that has called back, and what it notes."""
    notes: list[str] = []
    begun = threading.Event()

    def body() -> None:
        try:
            work(begun.set)
            notes.append("went on")
        except KeyboardInterrupt:
            notes.append("interrupted")

    thread = threading.Thread(target=body)
    thread.start()
    assert begun.wait(10)
    return thread, notes


def test_a_long_pause_is_interrupted() -> None:
    def work(begun: Callable[[], None]) -> None:
        begun()
        pause(60)

    thread, notes = running(work)
    interrupt(thread)
    thread.join(10)
    assert notes == ["interrupted"]


def test_a_shield_holds_it_back_to_its_end() -> None:
    release = threading.Event()
    inside: list[str] = []

    def work(begun: Callable[[], None]) -> None:
        with shielded():
            begun()
            while not release.is_set():
                time.sleep(0.01)
            inside.append("done")

    thread, notes = running(work)
    interrupt(thread)
    time.sleep(0.1)
    release.set()
    thread.join(10)
    assert inside == ["done"] and notes == ["interrupted"]


def test_a_second_one_breaks_the_shield() -> None:
    def work(begun: Callable[[], None]) -> None:
        with shielded():
            begun()
            pause(60)

    thread, notes = running(work)
    interrupt(thread)
    interrupt(thread)
    thread.join(10)
    assert notes == ["interrupted"]


def test_what_was_not_interrupted_goes_on() -> None:
    def work(begun: Callable[[], None]) -> None:
        with shielded():
            begun()

    thread, notes = running(work)
    thread.join(10)
    interrupt(thread)  # it has ended
    assert notes == ["went on"]
    with shielded():
        pause(0)


def test_an_error_in_a_shield_is_the_error() -> None:
    with pytest.raises(ZeroDivisionError), shielded():
        raise ZeroDivisionError
