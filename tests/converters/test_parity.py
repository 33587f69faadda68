"""Metrics on values worked out by hand, and every verdict with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from converters.artifact import GoldenCase
from converters.manifest import CaseRecord, Manifest, OutputMetrics, ParityRecord
from converters.parity import compare, judge
from tests.converters.handmade import make_manifest

Array = NDArray[Any]


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def case(name: str = "a", kind: Any = "photo", **outputs: Array) -> GoldenCase:
    return GoldenCase(name, kind, {}, outputs)


def verdict(cases: Sequence[GoldenCase], *results: dict[str, Array]) -> ParityRecord:
    """The verdict, which must also fit into a manifest."""
    record = judge(cases, results, precision="fp32", runtime="test 1.0")
    text = make_manifest(parity=record).to_json()
    assert Manifest.from_json(text, "").parity == record
    return record


# compare ----------------------------------------------------------------------------------------


def test_metrics_by_hand() -> None:
    """Reference (3, 4), actual (3, 4.5): an error of 0.5 in one of two components."""
    metrics = compare("x", np.array([3.0, 4.0]), np.array([3.0, 4.5]))
    assert metrics == OutputMetrics(
        name="x",
        max_abs_error=0.5,
        relative_error=0.125,  # of the largest magnitude, 4
        snr_db=pytest.approx(20.0),  # 10 log10(25 / 0.25)
        cosine=pytest.approx(27 / (5 * math.sqrt(29.25))),
        top1=None,
        top5=None,
    )


def test_errors_are_relative_to_the_largest_magnitude_not_to_each_value() -> None:
    metrics = compare("x", f32(-1000, 1e-6), f32(-1000, 2e-6))
    assert metrics.relative_error == pytest.approx(1e-9, rel=1e-3)
    assert compare("x", f32(-8, 1), f32(8, 1)).relative_error == 2.0
    assert compare("x", f32(-1, 1), f32(1, -1)).cosine == pytest.approx(-1.0)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (0, 7), (1, 6), (2, 3, 4)])
@pytest.mark.parametrize("value", [0.0, 1.0, -3e38, 1e-44])
def test_equal_arrays(shape: tuple[int, ...], value: float) -> None:
    array = np.full(shape, value, np.float32)
    metrics = compare("x", array, array.copy())
    assert (metrics.max_abs_error, metrics.relative_error, metrics.snr_db) == (0, 0, None)
    assert metrics.cosine == pytest.approx(1.0)
    assert metrics.top1 in (None, 1.0) and metrics.top5 in (None, 1.0)


def test_a_reference_of_zeros_has_no_scale() -> None:
    metrics = compare("x", f32(0, 0), f32(0, 1e-9))
    assert metrics.relative_error == 1.0 and metrics.max_abs_error == pytest.approx(1e-9)
    assert metrics.cosine == 0.0 and metrics.snr_db is not None and metrics.snr_db < -1000


@pytest.mark.parametrize(
    ("reference", "actual", "top1", "top5"),
    [
        ([[1, 2, 3, 4, 5, 6]], [[1, 2, 3, 4, 5, 6]], 1.0, 1.0),
        ([[1, 2, 3, 4, 5, 6]], [[1, 2, 3, 4, 6, 5]], 0.0, 1.0),
        ([[1, 2, 3, 4, 5, 6]], [[2, 1, 3, 4, 5, 6]], 1.0, 0.8),  # the least two changed places
        ([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]], [[6, 5, 4, 3, 2, 1]] * 2, 0.5, 0.9),
        ([[5, 5, 5, 5, 5, 5]], [[5, 5, 5, 5, 5, 5]], 1.0, 1.0),  # ties: the first counts
        ([[1, 2]], [[2, 1]], 0.0, None),
        ([[1]], [[2]], None, None),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], None, None),
    ],
)  # fmt: skip
def test_agreement(reference: Any, actual: Any, top1: float | None, top5: float | None) -> None:
    metrics = compare("x", f32(*reference), f32(*actual))
    assert (metrics.top1, metrics.top5) == (top1, pytest.approx(top5) if top5 else top5)


def test_both_parts_of_a_complex_number_count() -> None:
    a = np.array([3 + 4j], np.complex64)
    metrics = compare("x", a, a.conj())
    assert (metrics.max_abs_error, metrics.relative_error) == (8.0, 2.0)
    assert metrics.cosine == pytest.approx((9 - 16) / 25)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1.0, 1e200, 1.7e308])
def test_metrics_stay_finite_at_both_ends_of_a_double(scale: float) -> None:
    for actual in ([1.0, 1.0], [-1.0, 0.5], [0.0, 0.0], [1e-3, 0.5]):
        metrics = compare("x", np.array([1.0, 0.5]) * scale, np.array(actual) * scale)
        assert all(math.isfinite(v) for v in asdict(metrics).values() if isinstance(v, float))
    if 1e-300 < scale < 1e300:  # no digits are lost
        metrics = compare("x", np.array([3.0, 4.0]) * scale, np.array([3.0, 4.5]) * scale)
        assert metrics.relative_error == pytest.approx(0.125)
        assert metrics.snr_db == pytest.approx(20)
    tiny = compare("x", np.array([5e-324]), np.array([1.7e308]))
    assert math.isfinite(tiny.relative_error) and tiny.relative_error > 1e300


# judge ------------------------------------------------------------------------------------------

ONE, TWO = f32(1, 2), f32(3, 4)
CASES = [case("a", y=ONE), case("b", y=TWO)]


def test_pass() -> None:
    record = verdict(CASES, {"y": f32(1, 2)}, {"y": f32(3, 4.00001)})
    assert record.verdict == "pass"
    assert record.reason == "relative error at most 2.5e-06 on 2 inputs"
    assert (record.runtime, record.tolerance) == ("test 1.0", 1e-5)
    assert [(one.name, one.kind) for one in record.cases] == [("a", "photo"), ("b", "photo")]
    assert record.cases[1].outputs[0] == compare("y", TWO, f32(3, 4.00001))


def test_pass_says_that_there_was_no_photo() -> None:
    cases = [replace(one, kind="random") for one in CASES]
    assert verdict(cases, {"y": ONE}, {"y": TWO}).reason.endswith("on 2 inputs, no photo")


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({}, "the file has no output y (it has )"),
        ({"z": ONE}, "the file has no output y (it has z)"),
        ({"y": ONE, "z": ONE}, "the file has an output z that the source does not have"),
        ({"a\nb\x1b": ONE}, "the file has no output y (it has a b?)"),
        ({"y": ONE[None]}, "y has shape (1, 2), the source's is (2,)"),
        ({"y": ONE[:1]}, "y has shape (1,), the source's is (2,)"),
        ({"y": ONE[:0]}, "y has shape (0,), the source's is (2,)"),
        ({"y": ONE.astype(np.float64)}, "y is float64, the source's is float32"),
        ({"y": ONE.astype(np.int32)}, "y is int32, the source's is float32"),
        ({"y": f32(1, math.nan)}, "y holds NaN or infinity on a"),
        ({"y": f32(1, math.inf)}, "y holds NaN or infinity on a"),
        ({"y": f32(1, 2.0001)}, "relative error 5.0e-05 in y on a, over 1e-05"),
        ({"y": f32(-1, -2)}, "relative error 2.0e+00 in y on a, over 1e-05"),
    ],
)
def test_fail(result: dict[str, Array], reason: str) -> None:
    """In the first case, and in the last, where the others agree."""
    record = verdict(CASES, result, {"y": TWO})
    assert (record.verdict, record.reason) == ("fail", reason)
    cases = [case("b", y=TWO), case("c", y=TWO * 2), case("a", y=ONE)]
    record = verdict(cases, {"y": TWO}, {"y": TWO * 2}, result)
    assert (record.verdict, record.reason) == ("fail", reason)


@pytest.mark.parametrize(("error", "expected"), [(0.999e-5, "pass"), (1.001e-5, "fail")])
def test_the_bound_is_the_tolerance(error: float, expected: str) -> None:
    cases = [case("a", y=np.array([1.0])), case("b", y=np.array([-4.0]))]
    record = verdict(cases, {"y": np.array([1.0])}, {"y": np.array([-4.0 * (1 + error)])})
    assert record.verdict == expected and "relative error" in record.reason


def test_a_fault_fails_with_one_input_too() -> None:
    assert verdict([case(y=ONE)], {"y": TWO}).verdict == "fail"


def test_the_worst_of_all_outputs_and_cases_is_named() -> None:
    cases = [case("a", x=ONE, y=ONE), case("b", x=TWO, y=TWO)]
    off = [{"x": ONE * 1.001, "y": ONE}, {"x": TWO, "y": TWO * np.float32(1.01)}]
    record = verdict(cases, *off)
    assert record.reason == "relative error 1.0e-02 in y on b, over 1e-05"
    assert record.relative_error == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("big", [3, 10_000_000, 2**31 - 2])
@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_whole_numbers_off_by_one_fail(big: int, dtype: Any) -> None:
    """Among large ones an error of 1 is far below any relative tolerance."""
    a, b = np.array([0, big], dtype), np.array([1, big], dtype)
    wrong = np.array([0, big - 1], dtype)
    record = verdict([case("a", i=a), case("b", i=b)], {"i": wrong}, {"i": b})
    assert record.verdict == "fail"
    assert "relative error" in record.reason or "whole numbers of i differ on a" in record.reason
    assert verdict([case("a", i=a), case("b", i=b)], {"i": a}, {"i": b}).verdict == "pass"


def test_whole_numbers_beyond_a_double() -> None:
    a, b = np.array([2**62], np.int64), np.array([2**61], np.int64)
    record = verdict([case("a", i=a), case("b", i=b)], {"i": a + 1}, {"i": b})
    assert (record.verdict, record.reason) == ("fail", "the whole numbers of i differ on a")


def test_truth_values() -> None:
    a, b = np.array([True, False]), np.array([True, True])
    assert verdict([case(m=a), case(m=b)], {"m": a}, {"m": b}).verdict == "pass"
    assert verdict([case(m=a), case(m=b)], {"m": b}, {"m": b}).verdict == "fail"


_NOTHING = f32()


@pytest.mark.parametrize(
    ("cases", "reason"),
    [
        ([], "there was no input to try"),
        ([case(y=ONE)], "one input cannot show whether the output depends on it"),
        ([case("a", y=ONE), case("b", y=ONE)], "the same for every input"),
        ([case("a", y=ONE), case("b", y=ONE * np.float32(1 + 5e-6))], "the same for every input"),
        ([case("a", x=ONE, y=TWO), case("b", x=ONE, y=TWO)], "the same for every input"),
        ([case("a"), case("b")], "the source returns nothing"),
        ([case("a", y=_NOTHING), case("b", y=_NOTHING)], "the source returns nothing"),
        ([case("a", y=ONE), case("b")], "the source's outputs are not the same for every input"),
        ([case("a"), case("b", y=ONE)], "the source's outputs are not the same for every input"),
        ([case("a", y=f32(math.nan, 1)), case("b", y=TWO)], "the source itself returns NaN"),
        ([case("a", y=ONE), case("b", y=f32(math.inf, 1))], "the source itself returns NaN"),
    ],
)
def test_unverified(cases: list[GoldenCase], reason: str) -> None:
    """A file that agrees in everything shows nothing on these."""
    record = verdict(cases, *(dict(one.outputs) for one in cases))
    assert record.verdict == "unverified" and reason in record.reason


def test_a_file_of_one_answer_never_passes() -> None:
    """Whatever little the source depends on its input, within tolerance of one constant or not."""
    for step in (0.0, 1e-7, 1e-6, 9e-6, 1.1e-5, 1e-4, 1.0):
        cases = [case(str(i), y=np.array([1.0, 2.0 + 2 * step * i])) for i in range(3)]
        answers = [dict(cases[0].outputs)] * 3
        assert verdict(cases, *answers).verdict != "pass", step


def test_outputs_that_show_nothing_are_named_beside_those_that_do() -> None:
    """A grid of anchors is the same for every photo, and rightly so; a reader should know."""
    cases = [case(n, boxes=x, anchors=ONE, masks=_NOTHING) for n, x in (("a", ONE), ("b", TWO))]
    record = verdict(cases, *(dict(one.outputs) for one in cases))
    assert record.verdict == "pass"
    assert record.reason.endswith("on 2 inputs; the same for every input: anchors, masks")
    wrong = [dict(one.outputs, anchors=TWO) for one in cases]
    assert verdict(cases, *wrong).verdict == "fail"


def test_results_for_other_cases_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        judge(CASES, [{"y": ONE}], precision="fp32", runtime="x")


def test_pass_always_rests_on_numbers() -> None:
    """Over many small random situations: no pass without two cases of finite values in bounds."""
    rng = np.random.default_rng(0)
    values = [f32(1, 2), f32(3, 4), f32(1, 2.00001), f32(), f32(0, 0), f32(math.nan, 0), f32(1)]
    seen = set()
    for _ in range(1500):
        cases, results = [], []
        for i in range(rng.integers(0, 4)):
            names = [n for n in "xy" if rng.random() < 0.8]
            cases.append(case(str(i), **{n: values[rng.integers(len(values))] for n in names}))
            same = {n: a if rng.random() < 0.8 else values[rng.integers(len(values))]
                    for n, a in cases[-1].outputs.items() if rng.random() < 0.95}  # fmt: skip
            results.append(same)
        record = judge(cases, results, precision="fp32", runtime="x")
        seen.add(record.verdict)
        if record.verdict != "pass":
            continue
        assert len(record.cases) == len(cases) >= 2
        compared = [set(one.outputs) for one in cases]
        assert all(names and names == compared[0] for names in compared)
        for one, result in zip(cases, results, strict=True):
            for name, reference in one.outputs.items():
                np.testing.assert_allclose(result[name], reference, atol=1e-5 * 4, rtol=0)
        assert any(
            not np.array_equal(cases[0].outputs[n], cases[i].outputs[n])
            for n in compared[0]
            for i in range(1, len(cases))
        )
    assert seen == {"pass", "fail", "unverified"}


def test_records_hold_the_cases_before_the_fault() -> None:
    record = verdict(CASES, {"y": ONE}, {})
    assert record.cases == (CaseRecord("a", "photo", (compare("y", ONE, ONE),)),)
