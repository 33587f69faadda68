"""What a phone is, by its properties."""

from __future__ import annotations

import pytest

from android_harness.devices.properties import device_info, parse_properties
from android_harness.records import DeviceInfo

SAMSUNG = """\
[ro.board.platform]: [exynos2100]
[ro.build.version.release]: [13]
[ro.build.version.sdk]: [33]
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a,armeabi]
[ro.product.model]: [SM-G991B]
[ro.soc.manufacturer]: [Samsung]
[ro.soc.model]: [s5e9840]
[persist.sys.note]: [two
lines]
[ro.hardware]: [exynos2100]
"""


def test_a_phone_of_today() -> None:
    assert device_info("R5CT", parse_properties(SAMSUNG)) == DeviceInfo(
        serial="R5CT",
        kind="adb",
        model="SM-G991B",
        soc="Samsung s5e9840",
        os="Android 13 (API 33)",
        abis=("arm64-v8a", "armeabi-v7a", "armeabi"),
    )


def test_a_terminals_line_ends_change_nothing() -> None:
    assert parse_properties(SAMSUNG.replace("\n", "\r\n"))["ro.soc.model"] == "s5e9840"


def test_a_phone_of_old_and_one_that_tells_nothing() -> None:
    old = {"ro.board.platform": "msm8974", "ro.product.cpu.abi": "armeabi-v7a"}
    info = device_info("x", old | {"ro.build.version.release": "4.4"})
    assert (info.soc, info.abis, info.os) == ("msm8974", ("armeabi-v7a",), "Android 4.4")
    assert device_info("x", {}) == DeviceInfo("x", "adb", "unknown")
    unknown = {"ro.soc.model": "UNKNOWN", "ro.board.platform": "mt6789"}
    assert device_info("x", unknown).soc == "mt6789"


@pytest.mark.parametrize(
    ("serial", "properties"),
    [
        ("emulator-5554", {}),
        ("127.0.0.1:6555", {"ro.kernel.qemu": "1"}),
        ("x", {"ro.boot.qemu": "1"}),
        ("x", {"ro.hardware": "ranchu"}),
        ("x", {"ro.boot.hardware": "cutf_cvm"}),
        ("x", {"ro.product.device": "vsoc_x86_64"}),
        ("192.168.250.2:5555", {"ro.product.device": "waydroid_x86_64"}),
    ],
)
def test_emulators_are_recognised(serial: str, properties: dict[str, str]) -> None:
    assert device_info(serial, properties).emulated


def test_a_cut_list_of_properties_never_breaks_the_reader() -> None:
    for end in range(len(SAMSUNG)):
        cut = parse_properties(SAMSUNG[:end])
        assert cut.items() <= parse_properties(SAMSUNG).items()
        device_info("x", cut)
