"""Messages of the wire between adb's server and a phone.

A message is a header of six little-endian words (command, two arguments, length and checksum of
the data, the command's complement) and its data. Version 0x01000001 leaves checksums out.
Source: `protocol.txt` and `adb.h` of Android's `packages/modules/adb`.
"""

from __future__ import annotations

import asyncio
import struct
from typing import NamedTuple

VERSION = 0x01000001
MAX_DATA = 2**20

AUTH_TOKEN, AUTH_SIGNATURE, AUTH_PUBLIC_KEY = 1, 2, 3

_HEADER = struct.Struct("<4s5I")


class Message(NamedTuple):
    command: bytes  # CNXN, AUTH, OPEN, OKAY, WRTE or CLSE
    first: int
    second: int
    data: bytes = b""

    def packed(self) -> bytes:
        magic = int.from_bytes(self.command, "little") ^ 0xFFFFFFFF
        header = _HEADER.pack(self.command, self.first, self.second, len(self.data), 0, magic)
        return header + self.data


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Raises IncompleteReadError when the host has gone."""
    header = await reader.readexactly(_HEADER.size)
    command, first, second, length, _, magic = _HEADER.unpack(header)
    assert magic == int.from_bytes(command, "little") ^ 0xFFFFFFFF, header
    return Message(command, first, second, await reader.readexactly(length))
