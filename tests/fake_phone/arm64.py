"""A phone whose shell and programs are 64-bit Arm's, run by QEMU's user mode.

A phone is a user and a mount namespace of its own whose root is the folder of its files. In it
the kernel starts Arm programs through QEMU (binfmt_misc, which a user namespace can have for itself
since Linux 6.7), so that a program that starts another needs no help. Nothing of the machine is
registered, mounted or changed, and no rights are needed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .debian import NotToBeHad, unpack
from .files import PhoneFiles
from .userland import APPLETS, BIN, install_scripts

# LiteRT reads it, and crashes where it finds another processor's.
CPUINFO = """\
processor\t: 0
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd07
CPU revision\t: 0
"""

_PACKAGES = ("mksh", "toybox", "libc6", "libcrypt1")
_LIBRARIES = ("libc.so.6", "libm.so.6", "libcrypt.so.1")

# An Arm program is known by the head of its file. F opens QEMU now, because the phone's root has
# none.
_HEAD = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

# Run by this host's shell in the new namespaces. Where the kernel gives them no binfmt_misc, the
# machine's own registration serves, if it has one: the last line shows whether Arm programs run.
# That one stays, and with it the namespaces, until the pipe to it is closed.
_INIT = f"""
for folder in proc dev; do mount --rbind "/$folder" "$ROOT/$folder" || exit; done
mount --bind "$ROOT/cpuinfo" "$ROOT/proc/cpuinfo" || exit
mount -t binfmt_misc none "$ROOT/binfmt_misc" &&
    printf %s ':arm64:M::{_HEAD}:{_MASK}:'"$QEMU:F" >"$ROOT/binfmt_misc/register"
exec "$CHROOT" "$ROOT" {BIN}/sh -c 'uname -m; read until_the_end'
"""
_SECONDS = 30


def emulator() -> str:
    """QEMU as one static file: the phone's root has no libraries of this host."""
    found = shutil.which("qemu-aarch64-static")
    if found is None:
        raise NotToBeHad("qemu-aarch64-static is not installed (Debian: qemu-user-static)")
    return found


def fetch(folder: Path) -> None:
    """Android's shell and toybox for Arm, with their libraries, from Debian."""
    emulator()
    unpack(_PACKAGES, "arm64", folder)


class Arm64Userland:
    """Implements `userland.Userland`; `programs` is a folder that `fetch` made."""

    environment: Mapping[str, str] = {"PATH": BIN, "STATE": "/state", "HOME": "/"}

    def __init__(self, files: PhoneFiles, programs: Path) -> None:
        _install(files, programs)
        self._init = _start(files.root)
        self.interpreter = (
            _tool("nsenter"), "--preserve-credentials", "--user", "--mount", "--root", "--wd",
            f"--target={self._init.pid}", f"{BIN}/sh",
        )  # fmt: skip

    def translate(self, command: str) -> str:
        return command

    def close(self) -> None:
        _end(self._init)


def _install(files: PhoneFiles, programs: Path) -> None:
    for name in ("proc", "dev", "lib", "binfmt_misc"):
        files.path(name).mkdir()
    files.write("cpuinfo", CPUINFO)
    folder = files.path(BIN)
    folder.mkdir(parents=True)
    shutil.copy(programs / "bin/mksh", folder / "sh")
    shutil.copy(programs / "bin/toybox", folder)
    for applet in APPLETS:
        (folder / applet).symlink_to("toybox")
    libraries = programs / "lib/aarch64-linux-gnu"
    for name in ("ld-linux-aarch64.so.1", *_LIBRARIES):
        shutil.copy(libraries / name, files.path("lib"))
    install_scripts(files, f"{BIN}/sh")


def _start(root: Path) -> subprocess.Popen[str]:
    """The process that holds the namespaces; NotToBeHad where the kernel does not allow them."""
    init = subprocess.Popen(
        [_tool("unshare"), "--user", "--map-root-user", "--mount", _tool("sh"), "-c", _INIT],
        env={
            "PATH": f"/usr/sbin:/usr/bin:/sbin:/bin:{BIN}",  # the phone's programs come last
            "ROOT": str(root),
            "QEMU": emulator(),
            "CHROOT": _tool("chroot"),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert init.stdout is not None
    if init.stdout.readline().strip() != "aarch64":
        _, said = _end(init)
        raise NotToBeHad(f"the kernel lets no phone for 64-bit Arm start: {' '.join(said.split())}")
    return init


def _end(init: subprocess.Popen[str]) -> tuple[str, str]:
    """It reads its input to the end, and then goes."""
    try:
        return init.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        init.kill()
        return init.communicate()


def _tool(name: str) -> str:
    """Its whole path: it is started with the phone's PATH."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise NotToBeHad(f"{name} is not installed (Debian: util-linux, coreutils)")
    return found
