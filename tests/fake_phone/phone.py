"""A phone that real adb talks to over TCP; its serial is `127.0.0.1:PORT`.

    with FakePhone(folder) as phone:
        subprocess.run(["adb", "connect", phone.serial])

It serves in a thread of its own; every method may be called from any thread. Its files are a
folder of this host. Its programs run on this host's processor, or with another userland
(`arm64.py`) on an emulated one: right for everything but latency.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from . import sync
from .connection import Connection, Stream
from .faults import Fault, Faults, ServiceFailed, What, Where
from .files import PhoneFiles
from .shell import Shell
from .state import PIXEL, PhoneState
from .userland import HostUserland, Userland

Features = Literal["none", "v1", "v2"]
_FEATURES = {
    "none": None,  # Android 6 and before
    "v1": "cmd,stat_v2",
    "v2": "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir,fixed_push_symlink_timestamp",
}


class FakePhone:
    def __init__(
        self,
        folder: Path,
        *,
        userland: Callable[[PhoneFiles], Userland] = HostUserland,
        features: Features = "v2",
        properties: Mapping[str, str] = PIXEL,
        trusted: bool = True,
        reboot_seconds: float = 0.3,
    ) -> None:
        """`trusted` says whether the phone knows the host's key already; see `accept`."""
        self.files = PhoneFiles(folder)
        self._userland = userland(self.files)
        self.files.path("/data/local/tmp").mkdir(parents=True)
        self.state = PhoneState(self.files, properties)
        self.faults = Faults()
        self._features = features
        self._trusted = trusted
        self._reboot_seconds = reboot_seconds
        self._shell = Shell(self._userland, str(folder))
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._leaving: asyncio.Task[None] | None = None
        self._returning: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FakePhone:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self._port}"

    def fault(self, where: Where, what: What, *, after: int = 0, times: int = 1) -> None:
        """Lets something go wrong once a stream has come to `after` bytes, `times` times."""
        self.faults.add(Fault(where, what, after, times))

    def disconnect(self) -> None:
        """The cable is pulled and put back in."""
        self._do(self._drop())

    def vanish(self) -> None:
        self._do(self._go())

    def come_back(self) -> None:
        self._do(self._listen())

    def reboot(self) -> None:
        """Processes end and the phone is away for `reboot_seconds`; files stay."""
        self._do(self._reboot())

    def accept(self) -> None:
        """The user taps "allow": the host that waits, and those to come, are let in."""
        self._trusted = True
        self._do(self._welcome())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=60)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def service(stream: Stream, name: str) -> None:
            await self._run_service(connection, stream, name)

        connection = Connection(
            reader,
            writer,
            banner=self._banner(),
            trusts=lambda: self._trusted,
            service=service,
        )
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    def _banner(self) -> str:
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        values = "".join(f"{name}={self.state.property(name)};" for name in names)
        features = _FEATURES[self._features]
        return f"device::{values}" + (f"features={features}" if features else "")

    async def _run_service(self, connection: Connection, stream: Stream, name: str) -> None:
        async def reached(where: Where, count: int) -> What | None:
            return await self._reached(connection, where, count)

        async def output(count: int) -> What | None:
            return await reached("shell", count)

        kind, _, argument = name.partition(":")
        serve = self._shell_service(kind)
        if kind == "sync":
            stream.opened()
            await sync.serve(stream, self.files, reached)
        elif serve is not None:
            stream.opened()
            await serve(stream, self._userland.translate(argument), output)

    def _shell_service(self, kind: str) -> Any:
        if kind.startswith("shell,v2"):
            return self._shell.serve_v2
        return {"shell": self._shell.serve_v1, "exec": self._shell.serve_exec}.get(kind)

    async def _reached(self, connection: Connection, where: Where, count: int) -> What | None:
        what = self.faults.due(where, count)
        if what == "full":
            raise ServiceFailed("No space left on device")
        if what == "read-only":
            raise ServiceFailed("Read-only file system")
        if what is None or what == "close":
            return what
        if what == "disconnect":
            connection.drop()
        elif what in ("vanish", "reboot"):
            # In a task of its own: the one that this is in ends with its connection.
            leaving = self._go() if what == "vanish" else self._reboot()
            self._leaving = asyncio.create_task(leaving)
        return await asyncio.Future()  # until the connection ends, and this with it

    async def _drop(self) -> None:
        for connection in list(self._connections):
            connection.drop()

    async def _go(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._drop()

    async def _reboot(self) -> None:
        await self._go()
        await self._shell.kill_all()
        self.state.set_properties({"sys.boot_completed": ""})
        if self.state.has("fixed-performance"):
            self.state.set("fixed-performance", "false")
        self._returning = asyncio.create_task(self._boot())

    async def _boot(self) -> None:
        await asyncio.sleep(self._reboot_seconds)
        await self._listen()
        await asyncio.sleep(self._reboot_seconds)
        self.state.set_properties({"sys.boot_completed": "1"})

    async def _welcome(self) -> None:
        for connection in self._connections:
            connection.welcome()

    async def _stop(self) -> None:
        for task in (self._leaving, self._returning):
            if task is not None:
                task.cancel()
        await self._go()
        await self._shell.kill_all()
        self._userland.close()
        while self._connections:
            await asyncio.sleep(0.01)
