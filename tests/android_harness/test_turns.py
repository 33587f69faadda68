"""Files that take turns: what their processes say of each other."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy import stats as scipy_stats  # type: ignore[import-untyped]

from android_harness.compare import compare
from android_harness.measure import Request
from android_harness.records import Measurement, Repeat, Timings
from android_harness.runners.choice import choose_runner
from android_harness.turns import check_turns, mean_ratio, paired, ratios_in_turns
from converters import Artifact
from converters.errors import UsageError
from tests.android_harness.measured import CALM, measurement

TURNS = 7
BESIDE = ("aa" * 32, "bb" * 32)


def turns(speeds: Sequence[Sequence[float]], factor: float = 1.0, start: int = 0) -> Measurement:
    """A run whose repeats have a turn of three samples for each speed (ms) of the device."""
    repeats = []
    for index, process in enumerate(speeds):
        samples = tuple(factor * speed * step for speed in process for step in (0.99, 1.0, 1.2))
        moment = CALM.moment + timedelta(minutes=start + index)
        before, after = replace(CALM, moment=moment), replace(CALM, moment=moment)
        timings = Timings(samples=samples, turns=(3,) * len(process))
        repeats.append(Repeat(index, timings, before, after))
    whole = measurement([10.0] * len(speeds), repeats=tuple(repeats), validity="noisy")
    return replace(whole, options=replace(whole.options, beside=BESIDE))


def drifting(seed: int, processes: int = 10) -> list[list[float]]:
    """Speeds that change by a tenth from turn to turn, and between processes."""
    rng = np.random.default_rng(seed)
    speeds = (
        10 * rng.lognormal(0, 0.1, processes)[:, None] * rng.lognormal(0, 0.1, (processes, TURNS))
    )
    return [[*map(float, process)] for process in speeds]


def test_what_both_shared_cancels() -> None:
    speeds = drifting(1)
    a, b = turns(speeds), turns(speeds, 1.02)
    assert ratios_in_turns(a, b) == pytest.approx(dict.fromkeys(range(10), 1.02))
    found = compare(a, b)
    assert (found.verdict, found.in_turns) == ("slower", 5)
    assert found.ratio == pytest.approx(1.02)
    assert found.interval == pytest.approx((1.02, 1.02))
    assert found.notes == (
        "the files took turns: the ratio is that of 5 pairs of processes with both",
    )
    # The same samples of two commands show nothing.
    apart = compare(a, turns(speeds, 1.02, start=60))
    assert (apart.verdict, apart.in_turns) == ("no difference shown", 0)
    assert apart.notes[-1].startswith("a device that drifts looks like a difference")


def test_a_ratio_is_taken_round_by_round() -> None:
    """The medians over all samples, 30 and 2, would give 15."""
    a, b = turns([[1, 2, 20]]), turns([[3, 30, 40]])
    assert ratios_in_turns(a, b) == {0: 3.0}


def test_the_last_rounds_of_a_quick_file_may_be_missing() -> None:
    a, b = turns([[1, 2, 4]]), turns([[3, 6]])
    assert ratios_in_turns(a, b) == {0: 3.0}


def test_a_pair_has_one_process_in_each_order() -> None:
    """What is loaded second is slower by a tenth, whichever file it is."""
    swapped = {index: 1.02 * 1.1 ** (1 - 2 * (index % 2)) for index in range(6)}
    assert paired(swapped) == pytest.approx([1.02] * 3)
    del swapped[0], swapped[3]
    assert paired(swapped) == pytest.approx([1.02])
    assert paired({1: 2.0, 2: 3.0}) == ()


def test_files_alone_and_other_devices_have_no_ratios() -> None:
    a, b = turns(drifting(1)), turns(drifting(1))
    alone = replace(a, options=replace(a.options, beside=()))
    assert ratios_in_turns(alone, b) == {}
    assert ratios_in_turns(a, replace(b, device=replace(b.device, serial="other"))) == {}


def test_too_few_processes_in_common_are_compared_as_two_runs() -> None:
    """A run that was gone on with alone has repeats of its own."""
    a, b = turns(drifting(1)), turns(drifting(1))
    later = turns(drifting(2), start=60).repeats[5:]
    mixed = replace(b, identity=str(uuid.uuid4()), repeats=(*b.repeats[:5], *later))
    assert len(ratios_in_turns(a, mixed)) == 5
    assert len(paired(ratios_in_turns(a, mixed))) == 2
    assert compare(a, mixed).in_turns == 0


def test_runs_beside_other_files_are_not_comparable() -> None:
    a, b = turns(drifting(1)), turns(drifting(1))
    other = replace(b, options=replace(b.options, beside=("aa" * 32, "cc" * 32)))
    assert "they did not take turns with the same files" in compare(a, other).reasons


def test_the_interval_is_that_of_scipy() -> None:
    ratios = np.random.default_rng(3).lognormal(0.03, 0.01, 5)
    theirs = scipy_stats.ttest_1samp(np.log(ratios), 0).confidence_interval(0.95)
    ratio, ours = mean_ratio([*ratios])
    assert ratio == pytest.approx(scipy_stats.gmean(ratios))
    assert ours == pytest.approx((np.exp(theirs.low), np.exp(theirs.high)))


def shown(ratios: np.ndarray) -> int:
    _, (low, high) = mean_ratio([*ratios])
    return int(low > 1) - int(high < 1)


def test_false_alarms_and_true_ones() -> None:
    """The small form of docs/harness.md: 400 trials with processes that vary by 1.2%."""
    rng = np.random.default_rng(3)
    alarms = sum(shown(rng.lognormal(0, 0.012, 5)) != 0 for _ in range(400))
    assert 4 <= alarms <= 32  # of 20 expected
    found = sum(shown(1.05 * rng.lognormal(0, 0.012, 5)) == 1 for _ in range(400))
    assert found >= 380


def requests(artifacts: Sequence[Artifact], program: str = "mvkit") -> list[Request]:
    return [Request(one, choose_runner(program, one.manifest)) for one in artifacts]


def test_files_that_cannot_share_a_process(artifact: Artifact, plain: Artifact) -> None:
    check_turns(requests([artifact, plain]))
    with pytest.raises(UsageError, match=r"classifier-fp32\.tflite is alone"):
        check_turns(requests([artifact]))
    with pytest.raises(UsageError, match="hold the same bytes"):
        check_turns(requests([artifact, plain, artifact]))
    with pytest.raises(UsageError, match="benchmark_model holds one file at a time"):
        check_turns(requests([artifact, plain], "benchmark_model=/data/local/tmp/b"))
    first, second = requests([artifact, plain])
    other = replace(second, options=replace(second.options, backend="gpu"))
    with pytest.raises(UsageError, match="need different runners"):
        check_turns([first, other])
