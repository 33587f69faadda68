"""Building bundles: by content, whole or not at all, and what is missing in one line."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from android_harness import building, runtimes, toolchains
from android_harness.building import build_bundle
from android_harness.bundles import Bundle, find_bundle, list_bundles
from converters.errors import MissingExtraError, UsageError


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """`no_compiler("cmake")`: a machine on which nothing but these can be found."""

    def leave(*names: str) -> None:
        for name in names:
            (tmp_path / name).symlink_to("/bin/true")
        monkeypatch.setenv("PATH", str(tmp_path))

    return leave


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MVKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compiling writes an empty program; the list says which were compiled."""
    done: list[str] = []

    def compile_(program: str, tools: object, libraries: object, folder: Path) -> Path:
        done.append(program)
        folder.mkdir()
        (folder / program).write_bytes(b"program")
        return folder / program

    monkeypatch.setattr(building, "_compile", compile_)
    return done


def test_a_bundle_holds_the_program_and_its_libraries(bundled: Callable[..., Bundle]) -> None:
    bundle = bundled("tflite")
    assert {file.name for file in bundle.path.iterdir()} == {"run", "mvkit-litert", "libLiteRt.so"}
    assert all(file.stat().st_mode & 0o111 for file in bundle.path.iterdir())
    assert bundle.runtime.startswith("ai-edge-litert ")
    assert find_bundle("tflite", ["host"]) == bundle
    assert bundle.size > 10**6


def test_a_bundle_is_built_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = compiled(monkeypatch)
    first = build_bundle("tflite", "host")
    assert build_bundle("tflite", "host") == first
    assert done == ["mvkit-litert"]
    assert list_bundles() == [first]
    assert [path.name for path in (cache / "runners").iterdir()] == [first.path.parent.name]


def test_other_sources_or_compilers_make_another_bundle(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = compiled(monkeypatch)
    first = build_bundle("tflite", "host")
    monkeypatch.setattr(toolchains, "_version", lambda *_: "c++ 99")
    second = build_bundle("tflite", "host")
    monkeypatch.setattr(building, "sources_digest", lambda: "1" * 64)
    third = build_bundle("tflite", "host")
    assert len({first.path, second.path, third.path}) == len(done) == 3
    assert (second.compiler, third.sources) == ("c++ 99", "1" * 64)


def test_what_another_process_built_meanwhile_is_taken(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = compiled(monkeypatch)
    fill = building._fill

    def slow(*parts: Any) -> None:
        fill(*parts)
        monkeypatch.setattr(building, "_fill", fill)
        build_bundle("tflite", "host")

    monkeypatch.setattr(building, "_fill", slow)
    bundle = build_bundle("tflite", "host")
    assert len(done) == 2
    assert list_bundles() == [bundle]


def test_a_build_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache.parent / "native").mkdir()
    (cache.parent / "native/CMakeLists.txt").write_text("project(x LANGUAGES NONE)\nerror()\n")
    monkeypatch.setattr(building, "sources_folder", lambda: cache.parent / "native")
    with pytest.raises(UsageError, match=r"mvkit-litert does not build for host with .*: .*rror"):
        build_bundle("tflite", "host")
    assert not (cache / "runners").exists()


def test_a_missing_tool_comes_with_what_to_install(
    cache: Path, no_compiler: Callable[..., None]
) -> None:
    no_compiler()
    with pytest.raises(UsageError, match=r"cmake is not installed; .*: apt install cmake"):
        build_bundle("tflite", "host")
    no_compiler("cmake")
    with pytest.raises(UsageError, match=r"c\+\+ is not installed; .*: apt install g\+\+"):
        build_bundle("tflite", "host")
    with pytest.raises(UsageError, match=r"apt install g\+\+-aarch64-linux-gnu"):
        build_bundle("tflite", "linux-arm64")


def test_a_missing_package_comes_with_the_extra_that_brings_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"ai-edge-litert .* 'mobilevit-kit\[verify\]'"):
        build_bundle("tflite", "host")
    with pytest.raises(MissingExtraError, match=r"executorch .* 'mobilevit-kit\[executorch\]'"):
        build_bundle("executorch", "host")


def test_a_package_without_its_libraries_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = runtimes._PACKAGES["tflite"]
    with pytest.raises(UsageError, match=f"has no libLiteRt.so in {tmp_path}"):
        runtimes._whole("litert 0", package, tmp_path)


def test_a_download_that_fails_is_told(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert "ai-edge-litert==1.2" in command
        (dest,) = [part.removeprefix("--dest=") for part in command if part.startswith("--dest=")]
        Path(dest, "half.whl").touch()
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no network\n")

    monkeypatch.setattr(runtimes.subprocess, "run", fail)
    with pytest.raises(UsageError, match=r"cannot download ai-edge-litert 1.2 .*: ERROR: no netw"):
        runtimes._downloaded(runtimes._PACKAGES["tflite"], "1.2")
    assert not (cache / "runtimes").exists()


@pytest.fixture
def ndk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The parts of an Android NDK that a build looks for."""
    for name in toolchains._NDK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "ndk"
    libraries = folder / "toolchains/llvm/prebuilt/linux-x86_64/sysroot/usr/lib"
    for file in (
        folder / "build/cmake/android.toolchain.cmake",
        libraries / "aarch64-linux-android/libc++_shared.so",
    ):
        file.parent.mkdir(parents=True)
        file.touch()
    (folder / "source.properties").write_text("Pkg.Desc = NDK\nPkg.Revision = 27.2.1\n")
    return folder


def test_a_runner_for_android_is_asked_of_the_ndk(
    cache: Path, ndk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CMake is told; no NDK could be had to build with."""
    (tmp_path / "litert").mkdir()
    (tmp_path / "litert/libLiteRt.so").touch()
    tools = toolchains.toolchain("arm64-v8a", ndk)
    assert f"-DCMAKE_TOOLCHAIN_FILE={ndk}/build/cmake/android.toolchain.cmake" in tools.arguments
    assert "-DANDROID_ABI=arm64-v8a" in tools.arguments
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(ndk))
    compiled(monkeypatch)
    bundle = build_bundle("tflite", "arm64-v8a", runtime_folder=tmp_path / "litert")
    assert bundle.compiler == "Android NDK 27.2.1"
    assert {file.name for file in bundle.path.iterdir()} == {
        "run", "mvkit-litert", "libLiteRt.so", "libc++_shared.so",
    }  # fmt: skip


def test_what_is_missing_for_android_is_told(cache: Path, ndk: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Android NDK is known; install one"):
        build_bundle("tflite", "arm64-v8a")
    with pytest.raises(UsageError, match=r"no Android NDK, .*android\.toolchain\.cmake is missing"):
        build_bundle("tflite", "arm64-v8a", ndk=tmp_path)
    with pytest.raises(UsageError, match="no package brings tflite's runtime for Android"):
        build_bundle("tflite", "arm64-v8a", ndk=ndk)
    with pytest.raises(UsageError, match="--runtime is for --abi arm64-v8a"):
        build_bundle("tflite", "host", runtime_folder=tmp_path)
    next(ndk.rglob("libc++_shared.so")).unlink()
    with pytest.raises(UsageError, match=r"no Android NDK, .*libc\+\+_shared\.so is missing"):
        build_bundle("tflite", "arm64-v8a", ndk=ndk)
