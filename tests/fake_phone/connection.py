"""One host's connection: the handshake, then any number of streams at the same time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

from .protocol import (
    AUTH_PUBLIC_KEY,
    AUTH_SIGNATURE,
    AUTH_TOKEN,
    MAX_DATA,
    VERSION,
    Message,
    read_message,
)

Service = Callable[["Stream", str], Awaitable[None]]


class Stream:
    """A service's end of a stream: what the host wrote is read, and what is written arrives."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self._connection = connection
        self._local, self._remote = local, remote
        self._acknowledged = asyncio.Event()
        self.reader = asyncio.StreamReader(limit=2**26)

    async def write(self, data: bytes) -> None:
        """Returns when the host has taken all of it."""
        for start in range(0, len(data), self._connection.largest):
            part = data[start : start + self._connection.largest]
            self._acknowledged.clear()
            self._connection.send(Message(b"WRTE", self._local, self._remote, part))
            await self._acknowledged.wait()

    def received(self, message: Message) -> None:
        if message.command == b"OKAY":
            self._acknowledged.set()
        elif message.command == b"WRTE":
            self.reader.feed_data(message.data)
            self._connection.send(Message(b"OKAY", self._local, self._remote))
        else:
            self.reader.feed_eof()

    def opened(self) -> None:
        self._connection.send(Message(b"OKAY", self._local, self._remote))

    def close(self) -> None:
        self._connection.send(Message(b"CLSE", self._local, self._remote))


class Connection:
    """Serves a host until either side goes.

    `trusts` says whether the host's key is accepted; it is asked again for every key offered, and
    nothing is answered while it says no, as a phone whose user has not tapped "allow" yet.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        banner: str,
        trusts: Callable[[], bool],
        service: Service,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._banner, self._trusts, self._service = banner, trusts, service
        self._numbers = itertools.count(1)
        self._streams: dict[int, Stream] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._introduced = False
        self.largest = 4096

    def send(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(message.packed())

    def drop(self) -> None:
        """The cable is pulled: what is under way never arrives."""
        self._writer.transport.abort()

    async def serve(self) -> None:
        try:
            while True:
                self._handle(await read_message(self._reader))
                await self._writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.drop()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def welcome(self) -> None:
        self._introduced = True
        self.send(Message(b"CNXN", VERSION, MAX_DATA, self._banner.encode()))

    def _handle(self, message: Message) -> None:
        if message.command == b"CNXN":
            self.largest = min(MAX_DATA, message.second)
            if self._trusts():
                self.welcome()
            else:
                self.send(Message(b"AUTH", AUTH_TOKEN, 0, b"\x17" * 20))
        elif message.command == b"AUTH":
            self._authenticate(message.first)
        elif message.command == b"OPEN" and self._introduced:
            self._open(message)
        else:
            stream = self._streams.get(message.second)
            if stream is not None:
                stream.received(message)
                if message.command == b"CLSE":
                    self._tasks[message.second].cancel()

    def _authenticate(self, step: int) -> None:
        if self._trusts():
            self.welcome()
        elif step == AUTH_SIGNATURE:  # of a key that the phone does not know
            self.send(Message(b"AUTH", AUTH_TOKEN, 0, b"\x17" * 20))
        else:
            assert step == AUTH_PUBLIC_KEY

    def _open(self, message: Message) -> None:
        local = next(self._numbers)
        stream = self._streams[local] = Stream(self, local, message.first)
        name = message.data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        self._tasks[local] = asyncio.create_task(self._run(stream, local, name))

    async def _run(self, stream: Stream, local: int, name: str) -> None:
        """One service from its opening to the CLSE, which the other side answers with its own."""
        try:
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await self._service(stream, name)
        finally:
            stream.close()
            self._streams.pop(local, None)
            self._tasks.pop(local, None)
