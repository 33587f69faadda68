"""Which bundles are in the cache, and which one a device gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from android_harness.bundles import PROGRAMS, Bundle, find_bundle, list_bundles, sources_digest
from android_harness.cache import cache_folder
from converters.errors import UsageError


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MVKIT_CACHE", str(tmp_path))
    return tmp_path


def put(key: str, **fields: str) -> Bundle:
    """A bundle as it lies in the cache, with a runner that does nothing."""
    whole = {
        "target": "tflite",
        "abi": "host",
        "runtime": "litert 1",
        "compiler": "c++ 1",
        "sources": sources_digest(),
        "built": "2026-01-02T03:04:05+00:00",
        **fields,
    }
    folder = cache_folder("runners") / key
    path = folder / PROGRAMS[whole["target"]]
    path.mkdir(parents=True)
    (path / "run").write_text("#!/bin/sh\n")
    (folder / "bundle.json").write_text(json.dumps(whole))
    return Bundle(path, **whole)


def test_the_cache_is_where_its_variables_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cache_folder("runners") == tmp_path / "runners"
    monkeypatch.delenv("MVKIT_CACHE")
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache_folder("runners") == Path("/c/mvkit/runners")
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder("runners") == Path("/home/ada/.cache/mvkit/runners")


def test_an_empty_cache_has_no_bundles() -> None:
    assert list_bundles() == []


def test_bundles_are_listed_by_target_and_abi_the_newest_first() -> None:
    old = put("a", built="2026-01-01T00:00:00+00:00")
    new = put("b", built="2026-03-01T00:00:00+00:00")
    arm = put("c", abi="linux-arm64")
    other = put("d", target="executorch")
    assert list_bundles() == [other, new, old, arm]


def test_a_device_gets_the_first_of_its_abis_that_there_is() -> None:
    host, arm = put("a"), put("b", abi="linux-arm64")
    assert find_bundle("tflite", ["host"]) == host
    assert find_bundle("tflite", ["arm64-v8a", "linux-arm64", "host"]) == arm


def test_a_bundle_of_other_sources_is_not_used() -> None:
    bundle = put("a", sources="0" * 64, built="2027-01-01T00:00:00+00:00")
    assert not bundle.is_current
    with pytest.raises(UsageError, match="mvkit runner build --abi host"):
        find_bundle("tflite", ["host"])
    current = put("b")
    assert find_bundle("tflite", ["host"]) == current


def test_a_missing_bundle_comes_with_what_to_build() -> None:
    put("a", target="executorch")
    with pytest.raises(UsageError) as refused:
        find_bundle("tflite", ["armeabi-v7a", "arm64-v8a"])
    assert str(refused.value) == (
        "there is no runner of tflite files for arm64-v8a; "
        "build it with: mvkit runner build --abi arm64-v8a"
    )


def test_a_device_that_no_runner_is_for_is_told_so() -> None:
    with pytest.raises(UsageError, match=r"a device with x86, mips\?; .* host, linux-arm64"):
        find_bundle("tflite", ["x86", "mips\x1b"])


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", "null", '{"target": "tflite"}', '{"target": ["x"]}', "\xff",
        "[" * 50_000, '{"target": "tflite", "more": 1}',
    ],
)  # fmt: skip
def test_a_damaged_record_is_named_with_what_to_remove(text: str) -> None:
    record = put("a").path.parent / "bundle.json"
    record.write_text(text)
    with pytest.raises(UsageError) as refused:
        list_bundles()
    assert str(record) in refused.value.message
    assert refused.value.hint == f"remove {record.parent}"


@pytest.mark.parametrize(
    "fields", [{"abi": "mips"}, {"built": "yesterday"}, {"runtime": 3}, {"target": "coreml"}]
)
def test_a_record_of_something_else_is_refused(fields: dict[str, object]) -> None:
    record = put("a").path.parent / "bundle.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | fields))
    with pytest.raises(UsageError, match="no runner's record"):
        list_bundles()


def test_a_record_of_any_size_is_not_read() -> None:
    record = put("a").path.parent / "bundle.json"
    record.write_text(" " * 70_000 + record.read_text())
    with pytest.raises(UsageError, match="too large"):
        list_bundles()


def test_a_bundle_without_its_program_is_refused() -> None:
    (put("a").path / "run").unlink()
    with pytest.raises(UsageError, match="not whole"):
        list_bundles()
