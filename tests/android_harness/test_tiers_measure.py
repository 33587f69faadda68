"""A whole measurement with the native runners, on this host's processor and on 64-bit Arm's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from android_harness.bundles import Bundle
from android_harness.devices import open_device
from android_harness.measure import Request, measure, measure_in_turns
from android_harness.records import Options
from android_harness.runners.choice import choose_runner
from android_harness.store import open_store
from android_harness.turns import ratios_in_turns
from converters import Artifact
from converters.errors import UsageError
from tests.android_harness.scripted import left_on, stored
from tests.fake_phone.fixtures import Tier
from tests.fake_phone.phone import FakePhone

SHORT = Options(repeats=2, warmup=0, iterations=2, min_seconds=0.0)


def build(bundled: Callable[..., Bundle], target: str, tier: Tier) -> None:
    try:
        bundled(target, tier.abi)
    except UsageError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(("target", "program"), [
    ("tflite", "mvkit-litert"),
    ("executorch", "mvkit-executorch"),
])  # fmt: skip
def test_a_measurement_with_a_native_runner(
    tiered_phone: FakePhone,
    tier: Tier,
    bundled: Callable[..., Bundle],
    converted: Callable[..., Artifact],
    tmp_path: Path,
    target: str,
    program: str,
) -> None:
    artifact = converted("classifier", target)
    build(bundled, target, tier)
    request = Request(artifact, choose_runner("mvkit", artifact.manifest), SHORT, memory=True)
    with open_store(tmp_path / "runs.sqlite", create=True) as store:
        found = measure(open_device(tiered_phone.serial), request, store)
        assert stored(store) == found
    assert found.device.emulated == tier.emulated
    assert found.parity is not None and found.parity.verdict == "pass"
    assert found.parity.max_relative_error is not None
    assert found.parity.max_relative_error <= 1e-5
    for one in found.repeats:
        timings = one.timings
        assert timings.samples is not None and len(timings.samples) == SHORT.iterations
        assert all((timings.load, timings.compile, timings.first))
        assert one.before.fixed_performance and one.after.fixed_performance
    assert len(found.repeats) == SHORT.repeats
    assert found.peak_memory is not None and found.peak_memory > 1
    assert found.validity in ("valid", "noisy")  # two repeats of an emulator agree or do not
    assert left_on(tiered_phone) == {".digests", "golden", "models", program}
    assert tiered_phone.state.get("fixed-performance") == "false"


@pytest.mark.parametrize("target", ["tflite", "executorch"])
def test_files_take_turns_in_a_native_runner(
    tiered_phone: FakePhone,
    tier: Tier,
    bundled: Callable[..., Bundle],
    converted: Callable[..., Artifact],
    tmp_path: Path,
    target: str,
) -> None:
    build(bundled, target, tier)
    requests = [
        Request(one, choose_runner("mvkit", one.manifest), SHORT)
        for one in (converted("classifier", target), converted("mobilevit", target))
    ]
    with open_store(tmp_path / "runs.sqlite", create=True) as store:
        found = measure_in_turns(open_device(tiered_phone.serial), requests, store)
    for one in found:
        assert one.parity is not None and one.parity.verdict == "pass"
        assert all(min(each.timings.turns) >= 1 for each in one.repeats)
    assert len(ratios_in_turns(*found)) == SHORT.repeats
    assert min(ratios_in_turns(*found).values()) > 1  # the second is many times larger
