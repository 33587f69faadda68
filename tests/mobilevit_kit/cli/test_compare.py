"""`mvkit compare`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from android_harness.records import Measurement
from android_harness.store import open_store
from tests.android_harness.measured import EMULATOR, SUBJECT, measurement, slower
from tests.mobilevit_kit.commands import Call

MAIN = measurement()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "runs.sqlite"
    monkeypatch.setenv("MVKIT_STORE", str(path))
    return path


def keep(path: Path, *some: Measurement) -> None:
    with open_store(path, create=True) as store:
        for one in some:
            store.save(one)


def feature(factor: float, measured: Measurement = MAIN) -> Measurement:
    return replace(slower(measured, factor), labels={"branch": "feature"})


def test_two_runs(mvkit: Call, place: Path) -> None:
    other = feature(1.05)
    keep(place, MAIN, other)
    result = mvkit("compare", "label:main", "latest")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[2].split()[:2] == ["A", MAIN.identity[:8]]
    assert lines[3].split()[:2] == ["B", other.identity[:8]]
    assert "slower: B takes 1.050 times as long as A, 95% interval 1.0" in result.out
    strips = [line for line in lines if "█" in line]
    assert [line[:3] for line in strips] == ["A  ", "B  "]
    assert mvkit("compare", "label:main", "latest", "--quiet").out == ""


def test_as_json(mvkit: Call, place: Path) -> None:
    keep(place, MAIN, feature(1.05))
    document = mvkit("compare", "label:main", "label:feature", "--json").json
    (one,) = document["comparisons"]
    assert one["a"]["id"] == MAIN.identity
    assert one["verdict"] == "slower" and one["ratio"] == pytest.approx(1.05)
    assert one["interval"][0] < 1.05 < one["interval"][1]
    assert one["a"]["statistics"]["samples"] == 25
    assert (one["emulated"], one["reasons"], one["notes"]) == (False, [], [])


@pytest.mark.parametrize(
    ("factor", "limit", "code"),
    [(1.05, "3%", 1), (1.05, "6%", 0), (1.05, "0%", 1), (1.0, "0%", 0), (0.9, "3%", 0)],
)
def test_a_gate(mvkit: Call, place: Path, factor: float, limit: str, code: int) -> None:
    keep(place, MAIN, feature(factor))
    args = ("compare", "label:main", "label:feature", "--fail-if-slower", limit)
    result = mvkit(*args)
    assert (result.code, result.err) == (code, "")
    assert result.out.splitlines()[-1] == f"{code} of 1 slower by more than {limit}"
    assert mvkit(*args, "--json").code == code
    assert mvkit(*args, "--quiet").code == code


def test_a_gate_is_not_passed_by_what_cannot_be_compared(mvkit: Call, place: Path) -> None:
    keep(place, MAIN, feature(1.5, replace(MAIN, device=EMULATOR)))
    args = ("compare", "label:main", "label:feature")
    result = mvkit(*args)
    assert result.code == 0
    assert "not comparable\n  B was measured on an emulated device" in result.out
    assert "times as long" not in result.out
    assert mvkit(*args, "--fail-if-slower", "3%").code == 2


def test_emulated_ones_are_marked(mvkit: Call, place: Path) -> None:
    emulated = replace(MAIN, device=EMULATOR)
    keep(place, emulated, feature(1.5, emulated))
    out = mvkit("compare", "label:main", "label:feature").out
    assert out.count("(emulated)") == 3 and out.count("10.04 emulated") == 1
    document = mvkit("compare", "label:main", "label:feature", "--json").json
    assert document["comparisons"][0]["emulated"] is True


def test_several_pairs(mvkit: Call, place: Path) -> None:
    large = measurement([20.0, 20.1, 20.2, 20.3, 20.4], subject=replace(SUBJECT, name="large"))
    alone = measurement(subject=replace(SUBJECT, name="alone"))
    keep(place, MAIN, large, alone, feature(0.9), feature(1.1, large))
    args = ("compare", "label:main", "label:feature", "--fail-if-slower", "3%")
    result = mvkit(*args)
    assert result.code == 1
    assert "faster: B takes 0.900 times" in result.out
    assert "slower: B takes 1.100 times" in result.out
    assert f"only in A  {alone.identity[:8]}  alone tflite fp32 on R5CT10" in result.out
    assert result.out.splitlines()[-1] == "1 of 2 slower by more than 3%"
    document = mvkit(*args, "--json").json
    assert document["only_a"] == [alone.identity] and document["only_b"] == []
    assert sorted(one["verdict"] for one in document["comparisons"]) == ["faster", "slower"]


def test_nothing_to_pair(mvkit: Call, place: Path) -> None:
    names = [replace(MAIN, subject=replace(SUBJECT, name=name)) for name in ("one", "two")]
    others = [feature(1.0, replace(one, subject=replace(SUBJECT, name="three"))) for one in names]
    keep(place, *(slower(one, 1.0) for one in names), *others)
    result = mvkit("compare", "label:main", "label:feature")
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("no run of 'label:main' has a partner among 'label:feature'")


def test_unfinished_runs_are_passed_over(mvkit: Call, place: Path) -> None:
    begun = replace(feature(1.0), validity=None)
    keep(place, MAIN, feature(1.05), replace(begun, repeats=begun.repeats[:2]))
    assert mvkit("compare", "label:main", "latest", "--json").json["comparisons"]
    result = mvkit("compare", "label:main", begun.identity[:8])
    assert result.code == 2
    assert result.line.startswith(f"no finished run matches '{begun.identity[:8]}'")


def test_a_plot(mvkit: Call, place: Path, tmp_path: Path) -> None:
    keep(place, MAIN, feature(1.05))
    path = tmp_path / "out.svg"
    result = mvkit("compare", "label:main", "latest", "--plot", path)
    assert (result.code, result.err) == (0, "")
    assert path.read_text().startswith("<svg ")
    result = mvkit("compare", "label:main", "latest", "--plot", tmp_path / "out.png")
    assert (result.code, result.out) == (2, "")
    assert result.line.endswith("out.png: the picture's name must end in .svg")


@pytest.mark.parametrize("limit", ["3", "0.03", "-1%", "x%", "%", "nan%", "٣%", "1e3%"])
def test_limits_are_percentages(mvkit: Call, place: Path, limit: str) -> None:
    result = mvkit("compare", "latest", "latest~1", "--fail-if-slower", limit)
    assert (result.code, result.out) == (2, "")
    assert "is not a percentage such as 3%" in result.line


def test_a_run_with_itself_is_not_compared(mvkit: Call, place: Path) -> None:
    keep(place, MAIN)
    result = mvkit("compare", "latest", "latest", "--fail-if-slower", "3%")
    assert result.code == 2
    assert "not comparable\n  A and B are the same run" in result.out
