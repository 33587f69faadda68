"""Comparisons as pictures and as lines of characters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from android_harness.compare import compare
from android_harness.plot import render_plot, write_plot
from android_harness.records import Timings
from android_harness.strip import axis_line, common_axis, strip, times_to_draw
from converters.errors import UsageError
from tests.android_harness.measured import EMULATOR, PHONE, SUBJECT, measurement, repeat, slower

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return ["".join(one.itertext()) for one in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_the_picture_of_a_comparison() -> None:
    a = measurement()
    b = slower(a, 1.05)
    found = texts(render_plot([compare(a, b)]))
    assert found[0].startswith("B/A 1.050 (95% interval ") and found[0].endswith("slower")
    assert f"A: {a.identity[:8]}, mobilevit_xs tflite fp32, on R5CT10" in found
    assert f"B: {b.identity[:8]}, mobilevit_xs tflite fp32, on R5CT10" in found
    assert [text for text in found if text[:2] in ("A ", "B ")] == [
        f"{side} {index}" for side in "AB" for index in range(5)
    ]
    assert {"10", "10.2", "10.4"} <= set(found)  # ticks are round numbers


def marks(picture: str) -> list[list[float]]:
    """The x of each path, from left to right: samples and median of each repeat in turn."""
    paths = [one.attrib["d"] for one in ElementTree.fromstring(picture).iter(f"{SVG}path")]
    return [[float(part.split()[0]) for part in path.split("M")[1:]] for path in paths]


def test_marks_lie_where_the_times_do() -> None:
    a = measurement([10.0] * 5)
    drawn = marks(render_plot([compare(a, slower(a, 2.0))]))
    assert len(drawn) == 20
    samples, (median,) = drawn[0], drawn[1]
    assert samples == sorted(samples) and samples[2] == median
    assert samples[0] == 90.0  # the smallest of all is where the axis begins
    assert drawn[-1][0] - 90 == pytest.approx((20 - 9.8) / (20.6 - 9.8) * 760, abs=0.1)


def test_what_lies_beyond_the_axis_is_drawn_at_its_end() -> None:
    timings = Timings(samples=(10.0,) * 500 + (900.0,))
    outlier = measurement(repeats=tuple(replace(repeat(n, 1.0), timings=timings) for n in range(5)))
    drawn = marks(render_plot([compare(outlier, slower(outlier, 1.01))]))
    assert max(max(one) for one in drawn) == 850.0


def test_many_samples_are_thinned() -> None:
    samples = tuple(10 + 0.001 * i for i in range(5000))
    many = measurement(
        repeats=tuple(replace(repeat(n, 1.0), timings=Timings(samples=samples)) for n in range(5))
    )
    drawn = marks(render_plot([compare(many, slower(many, 1.01))]))
    assert max(map(len, drawn)) == 400


def test_emulated_devices_are_marked_in_the_picture() -> None:
    real, emulated = measurement(), measurement(device=EMULATOR)
    found = texts(render_plot([compare(real, emulated)]))
    assert found[0].startswith("not comparable: B was measured on an emulated device")
    assert [text.endswith(" (emulated)") for text in found[1:3]] == [False, True]


def test_a_panel_for_each_pair() -> None:
    a = measurement()
    nothing = measurement(repeats=())
    some = [compare(a, slower(a, 1.05)), compare(a, nothing), compare(a, slower(a, 0.9))]
    verdicts = [text for text in texts(render_plot(some)) if text.startswith("B/A")]
    assert [text.rpartition(" ")[2] for text in verdicts] == ["slower", "faster"]
    ElementTree.fromstring(render_plot([compare(a, nothing)]))  # with nothing to draw


def test_hostile_text_in_the_picture() -> None:
    a = measurement(
        subject=replace(SUBJECT, name="<script>alert(1)</script>&\x1b"),
        device=replace(PHONE, serial="\"'><image href='x'/>\ud800\ufffe"),
    )
    picture = render_plot([compare(a, slower(a, 1.05))])
    assert "<script" not in picture and "<image" not in picture
    assert any("<script>alert(1)</script>&?" in text for text in texts(picture))


def test_writing_it(tmp_path: Path) -> None:
    a = measurement()
    found = [compare(a, slower(a, 1.05))]
    path = tmp_path / "out.svg"
    path.write_text("old")
    write_plot(found, path)
    assert path.read_text() == render_plot(found)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match=r"out\.png: the picture's name must end in \.svg"):
        write_plot(found, tmp_path / "out.png")
    with pytest.raises(UsageError, match=r"cannot write to .*missing"):
        write_plot(found, tmp_path / "missing" / "out.svg")
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*folder\.svg"):
        write_plot(found, tmp_path / "folder.svg")
    assert {one.name for one in tmp_path.iterdir()} == {"out.svg", "folder.svg"}


def test_a_strip_counts() -> None:
    times = [1.0] * 8 + [1.5] * 4 + [2.0]
    assert strip(times, (1.0, 2.0), 4) == "█ ▄▁"
    assert strip([5.0, 9.0], (1.0, 5.0), 3) == "  █"  # beyond the axis
    assert strip([1.0], (1.0, 1.01), 2) == "█ "


def test_the_axis_leaves_out_lone_outliers() -> None:
    low, high = common_axis([[1.0] * 500 + [100.0], [2.0] * 10])
    assert (low, high) == (1.0, 2.0)
    assert common_axis([[3.0], [3.0]]) == (3.0, 3.0 * 1.01)
    assert axis_line((1.0, 2.5), 20) == "1 ms          2.5 ms"


def test_what_is_drawn_of_a_tool_without_samples() -> None:
    printed = Timings(summary={"median": 9.0})
    assert times_to_draw(
        measurement(repeats=tuple(replace(repeat(n, 1.0), timings=printed) for n in range(2)))
    ) == (9.0, 9.0)
    assert times_to_draw(measurement([10.0])) == measurement([10.0]).repeats[0].timings.samples
    assert times_to_draw(measurement(repeats=())) == ()
