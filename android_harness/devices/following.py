"""A child process followed to its end, within a time and a size."""

from __future__ import annotations

import selectors
import subprocess
import time
from collections.abc import Callable

OUTPUT_LIMIT = 32 * 2**20  # bytes of both streams; a hundred thousand samples are 2 MB
_CHUNK = 2**16
_GRACE = 0.2  # seconds for what a process left in its pipes


class TimeUp(Exception):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"it did not end within {seconds:g} s")


class TooMuchOutput(Exception):
    def __init__(self) -> None:
        super().__init__(f"it printed more than {OUTPUT_LIMIT // 2**20} MiB")


def follow(
    process: subprocess.Popen[bytes],
    *,
    timeout: float,
    output: Callable[[bytes], None],
    errors: Callable[[bytes], None],
) -> int:
    """Hands over what a process writes as it comes, and returns its exit code.

    Both streams must be pipes. It ends with the process, even when a child of it still holds the
    pipes open. Raises TimeUp or TooMuchOutput, and leaves it to the caller to stop the process.
    """
    end = time.monotonic() + timeout
    count = 0
    with selectors.DefaultSelector() as selector:
        for pipe, take in ((process.stdout, output), (process.stderr, errors)):
            assert pipe is not None
            selector.register(pipe, selectors.EVENT_READ, take)
        while selector.get_map():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeUp(timeout)
            ready = selector.select(min(left, _GRACE))
            if not ready and process.poll() is not None:
                break
            for key, _ in ready:
                data = key.fileobj.read1(_CHUNK)  # type: ignore[union-attr]
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                count += len(data)
                if count > OUTPUT_LIMIT:
                    raise TooMuchOutput
                key.data(data)
    try:
        return process.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise TimeUp(timeout) from None


class Lines:
    """Cuts a stream into lines; `last` gives what came after the last line end."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._rest = bytearray()

    def feed(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._take(bytes(self._rest) + line)
            self._rest.clear()
        self._rest += rest

    def last(self) -> None:
        if self._rest:
            self._take(bytes(self._rest))
            self._rest.clear()
