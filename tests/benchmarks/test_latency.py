"""What `benchmarks.latency` makes of times and outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.latency import agreement, in_order, key, summary
from benchmarks.stock import GEMM_SIDE
from benchmarks.timing import Times
from converters.errors import ParityError


def process(**walls: float) -> dict[str, Times]:
    return {name: Times(wall, wall, (wall,)) for name, wall in walls.items()}


def test_errors_are_relative_to_our_largest_magnitude() -> None:
    ours = np.array([[0.5, -8.0]], np.float32)
    off = np.array([[0.5 + 2**-15, -8.0]], np.float32)
    errors = agreement({"stock": ours, "unfused": off, "ours": ours})
    assert errors == {"stock": 0.0, "unfused": 2**-18}


@pytest.mark.parametrize("wrong", [0.5 + 2**-13, math.nan])
def test_files_that_do_not_agree_are_not_timed(wrong: float) -> None:
    ours = np.array([[0.5, -8.0]], np.float32)
    with pytest.raises(ParityError, match="unfused"):
        agreement({"stock": ours, "unfused": np.array([[wrong, -8.0]], np.float32), "ours": ours})


def test_ratios_are_above_one_where_ours_is_faster() -> None:
    row = summary([process(ours=10, stock=15, unfused=8, gemm=1)] * 2, macs_millions=1)
    assert row["stock_ratio"]["median"] == 1.5
    assert row["unfused_ratio"]["median"] == 0.8
    assert (row["ours_ms"], row["stock_ms"], row["unfused_ms"]) == (10, 15, 8)


def test_the_share_of_peak_is_taken_within_each_process() -> None:
    """As many multiply-accumulates as the product's, in twice its time: half, in each process."""
    macs_millions = GEMM_SIDE**3 / 1e6
    processes = [process(ours=2 * ms, stock=1, gemm=ms) for ms in (3.0, 50.0, 7.0)]
    row = summary(processes, macs_millions)
    assert row["share_of_peak"] == pytest.approx(0.5)
    assert row["gflops"] == pytest.approx(2 * GEMM_SIDE**3 / 14e-3 / 1e9)  # 14 ms is the median


def test_rows_come_in_the_order_of_the_models_table() -> None:
    wanted = [
        ("mobilevit_xs", "tflite", 1),
        ("mobilevit_xs", "tflite", 2),
        ("mobilevit_xs", "executorch", 1),
        ("edgenext_base", "tflite", 1),
    ]
    rows = [{"model": m, "target": t, "threads": n} for m, t, n in reversed(wanted)]
    assert [key(row) for row in in_order({key(row): row for row in rows})] == wanted
