"""`mvkit runs`, `mvkit export` and `mvkit store`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from android_harness.records import Measurement, Timings
from android_harness.store import open_store
from tests.android_harness.measured import (
    EMULATOR,
    PHONE,
    SUBJECT,
    measurement,
    repeat,
    slower,
)
from tests.mobilevit_kit.commands import Call, contents

HOSTILE = "-rf [bold]:car:\x1b[2J\n\u202e"
Keep = Callable[..., None]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's store is."""
    path = tmp_path / "runs.sqlite"
    monkeypatch.setenv("MVKIT_STORE", str(path))
    return path


@pytest.fixture
def keep(place: Path) -> Keep:
    """`keep(measurement, ...)` puts measurements into the user's store."""

    def save(*some: Measurement) -> None:
        with open_store(place, create=True) as store:
            for one in some:
                store.save(one)

    return save


def test_the_list(mvkit: Call, keep: Keep) -> None:
    first = measurement()
    last = slower(replace(first, device=EMULATOR, validity="noisy"), 2.0)
    keep(first, last)
    result = mvkit("runs")
    assert (result.code, result.err) == (0, "")
    heading, _, *rows = (line.split() for line in result.out.splitlines())
    assert heading[:2] == ["run", "UTC"]
    assert rows[0] == [
        last.identity[:8], "2026-03-01", "13:00", "mobilevit_xs", "tflite", "fp32",
        "emulator-5554", "(emulated)", "xnnpack,", "1", "thread", "20.08", "emulated", "0.3%",
        "noisy", "branch=main",
    ]  # fmt: skip
    assert rows[1][:3] == [first.identity[:8], "2026-03-01", "12:00"]
    assert "emulated" not in " ".join(rows[1])


def test_the_list_as_json(mvkit: Call, keep: Keep) -> None:
    begun = replace(measurement(device=EMULATOR), validity=None)
    keep(replace(begun, repeats=begun.repeats[:2]))
    (run,) = mvkit("runs", "--json").json
    assert run["id"] == begun.identity
    assert (run["validity"], run["repeats"], run["emulated"]) == (None, 2, True)
    assert run["median"] == pytest.approx(10.01)
    assert run["labels"] == {"branch": "main"}
    assert mvkit("runs", "--quiet").out == ""


def test_filters_and_limits(mvkit: Call, keep: Keep) -> None:
    first = measurement(labels={"branch": "other"})
    later = [slower(measurement(), 1.0 + n) for n in range(3)]
    keep(first, *later)
    ids = [run["id"] for run in mvkit("runs", "label:other", "--json").json]
    assert ids == [first.identity]
    assert len(mvkit("runs", "label:other", "label:main", "--json").json) == 4
    result = mvkit("runs", "--limit", 3)
    assert result.out.splitlines()[-1] == "there are older ones; --limit N shows more"
    assert first.identity[:8] not in result.out
    assert "older" not in mvkit("runs", "--limit", 4).out
    result = mvkit("runs", "label:nowhere")
    assert (result.code, result.out) == (2, "")
    assert result.line == "no run matches 'label:nowhere'; `mvkit runs` lists what there is"


def test_everything_about_a_run(mvkit: Call, keep: Keep) -> None:
    shown = measurement(reasons=("outputs were not checked",))
    keep(shown)
    result = mvkit("runs", "latest", "--show")
    assert (result.code, result.err) == (0, "")
    for line in (
        f"run       {shown.identity}",
        "input     1x256x256x3 float32",
        "device    R5CT10, Pixel 8, Tensor G3, Android 14 (API 34)",
        "how       mvkit, xnnpack, 1 thread",
        "          outputs were not checked",
        "median    10.04 ms, 95% interval 10 to 10.08",
        "p99       - ms",
        "spread    0.3% between repeats, IQR 0.2 ms within",
        "memory    12.5 MiB at most",
    ):
        assert f"\n{line}\n" in f"\n{result.out}"
    assert result.out.count("XNNPACK") == 5
    assert "█" in result.out and "CONV_2D" in result.out
    (document,) = mvkit("runs", "latest", "--show", "--json").json
    assert document["statistics"]["median"] == pytest.approx(10.04)
    assert document["repeats"][0]["timings"]["samples"][0] == pytest.approx(9.8)


def test_a_run_of_a_tool_that_gives_little(mvkit: Call, keep: Keep) -> None:
    timings = Timings(summary={"avg": 9.5})
    keep(
        measurement(
            repeats=(replace(repeat(0, 1.0), timings=timings),),
            parity=None,
            peak_memory=None,
            profile=(),
            validity=None,
        )
    )
    result = mvkit("runs", "latest", "--show")
    assert (result.code, result.err) == (0, "")
    assert "median    - ms, 95% interval - to -\n" in result.out
    assert "validity  unfinished\n" in result.out


def test_an_emulated_run_says_so_at_its_latency(mvkit: Call, keep: Keep) -> None:
    keep(measurement(device=EMULATOR))
    result = mvkit("runs", "latest", "--show")
    assert "median    10.04 emulated ms, 95% interval 10 emulated to 10.08 emulated" in result.out


def test_hostile_text_is_never_shown_raw(mvkit: Call, keep: Keep) -> None:
    hostile = measurement(
        device=replace(PHONE, serial=HOSTILE, model=HOSTILE),
        subject=replace(SUBJECT, name=HOSTILE, inputs=(HOSTILE,)),
        labels={HOSTILE: HOSTILE},
        reasons=(HOSTILE,),
    )
    timings = replace(hostile.repeats[0].timings, delegate=HOSTILE)
    faulty = replace(hostile.repeats[0], timings=timings, faults=(HOSTILE,))
    keep(replace(hostile, repeats=(faulty, *hostile.repeats[1:])), slower(hostile, 2.0))
    for args in (
        ("runs",),
        ("runs", "latest~1", "--show"),
        ("runs", "--json"),
        ("runs", f"device:{HOSTILE}"),
        ("runs", f"device:{HOSTILE}?"),
        ("runs", f"label:{HOSTILE}={HOSTILE}"),
        ("compare", "latest~1", "latest"),
        ("compare", "latest~1", "latest", "--json"),
        ("export", "--format", "csv"),
        ("export", "--format", "json"),
    ):
        result = mvkit(*args)
        text = result.out + result.err
        assert result.code in (0, 2)
        assert not set(text) & {"\x1b", "\u202e"}
        assert "-rf [bold]:car:" in text


def test_deleting(mvkit: Call, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, deleted = measurement(), slower(measurement(), 2.0)
    keep(kept, deleted)
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "n")
    result = mvkit("runs", "latest", "--delete")
    assert result.code == 130
    assert deleted.identity[:8] in result.out
    assert len(mvkit("runs", "--json").json) == 2
    result = mvkit("runs", "latest", "--delete", "--yes")
    assert (result.code, result.out) == (0, "deleted 1\n")
    assert [run["id"] for run in mvkit("runs", "--json").json] == [kept.identity]
    result = mvkit("runs", kept.identity[:8], "--delete", "--yes", "--json")
    assert result.json == {"deleted": [kept.identity]}
    assert mvkit("runs").out == "nothing has been measured yet\n"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--show"], "--show needs to know which runs"),
        (["--delete", "--yes"], "--delete needs to know which runs"),
        (["latest", "--show", "--delete"], "--show and --delete exclude each other"),
        (["latest", "--yes"], "--yes is only used with --delete"),
        (["latest", "--show", "--limit", "2"], "--limit is for lists"),
        (["latest", "--delete", "--json"], "--delete with --json needs --yes"),
        (["nonsense"], "'nonsense' names no runs"),
    ],
)
def test_mistakes(mvkit: Call, keep: Keep, args: list[str], line: str) -> None:
    keep(measurement())
    result = mvkit("runs", *args)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line)
    assert len(mvkit("runs", "--json").json) == 1


@pytest.mark.parametrize(
    "args", [["runs"], ["compare", "latest", "latest~1"], ["export", "--format", "csv"],
             ["store", "upgrade"]]
)  # fmt: skip
def test_without_a_store(mvkit: Call, place: Path, args: list[str]) -> None:
    result = mvkit(*args)
    assert (result.code, result.out) == (2, "")
    assert result.line == f"{place}: there is no store; `mvkit bench` makes one"
    assert not place.exists()


def test_the_option_comes_before_the_environment(mvkit: Call, keep: Keep, tmp_path: Path) -> None:
    keep(measurement())
    with open_store(tmp_path / "other.sqlite", create=True):
        pass
    assert mvkit("runs", "--json", "--store", tmp_path / "other.sqlite").json == []


def test_the_users_own_store(mvkit: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MVKIT_STORE", raising=False)
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_, **__: tmp_path / "mvkit")
    assert mvkit("runs").line.startswith(f"{tmp_path}/mvkit/runs.sqlite: there is no store")
    with open_store(create=True) as store:
        store.save(measurement())
    assert len(mvkit("runs", "--json").json) == 1


def test_sqlalchemy_is_an_extra(mvkit_process: Call, tmp_path: Path) -> None:
    for args in (["runs"], ["compare", "latest", "latest~1"], ["store", "upgrade"]):
        result = mvkit_process(*args, cwd=tmp_path, absent=("sqlalchemy",))
        assert (result.code, result.out) == (2, "")
        assert result.line == (
            "sqlalchemy is not installed; install it with: pip install 'mobilevit-kit[lab]'"
        )


def test_exports(mvkit: Call, keep: Keep, tmp_path: Path) -> None:
    runs = [measurement(), slower(measurement(), 2.0)]
    keep(*runs)
    result = mvkit("export", "--format", "json")
    assert [one["identity"] for one in json.loads(result.out)] == [
        runs[1].identity, runs[0].identity,
    ]  # fmt: skip
    result = mvkit("export", "latest", "--format", "csv")
    assert (result.code, len(result.out.splitlines())) == (0, 6)
    for form in ("csv", "json", "parquet"):
        path = tmp_path / "out" / f"runs.{form}"
        path.parent.mkdir(exist_ok=True)
        result = mvkit("export", "--format", form, "--output", path)
        assert (result.code, result.err) == (0, "")
        assert result.out.endswith(f"runs.{form}  2 runs\n")
        assert path.stat().st_size > 500
    assert len(list((tmp_path / "out").iterdir())) == 3
    result = mvkit("export", "--format", "csv", "-o", tmp_path / "out.csv", "--json")
    assert result.json == {"file": str(tmp_path / "out.csv"), "format": "csv", "runs": 2}


def test_parquet_needs_a_file_and_an_extra(
    mvkit: Call, mvkit_process: Call, keep: Keep, place: Path, tmp_path: Path
) -> None:
    keep(measurement())
    assert mvkit("export", "--format", "parquet").line == "parquet needs --output FILE"
    before = contents(tmp_path)
    result = mvkit_process(
        "export", "--format", "parquet", "-o", tmp_path / "x.parquet", "--store", place,
        cwd=tmp_path, absent=("pyarrow",),
    )  # fmt: skip
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("pyarrow is not installed; install it with: pip install 'mob")
    assert set(contents(tmp_path)) == set(before)


def test_merging(mvkit: Call, keep: Keep, place: Path, tmp_path: Path) -> None:
    theirs = [measurement(), measurement()]
    with open_store(tmp_path / "laptop.sqlite", create=True) as store:
        for one in theirs:
            store.save(one)
    result = mvkit("store", "merge", tmp_path / "laptop.sqlite")
    assert (result.code, result.out) == (0, "2 added, 0 grown, 0 unchanged, 0 in conflict\n")
    result = mvkit("store", "merge", tmp_path / "laptop.sqlite", "--json")
    assert result.code == 0
    assert sorted(result.json.pop("unchanged")) == sorted(one.identity for one in theirs)
    assert result.json["added"] == []
    assert len(mvkit("runs", "--json").json) == 2
    place.unlink()
    keep(replace(theirs[0], repeats=(repeat(0, 99.0),)))
    result = mvkit("store", "merge", tmp_path / "laptop.sqlite")
    assert result.code == 1
    assert result.out.splitlines() == [
        "1 added, 0 grown, 0 unchanged, 1 in conflict",
        f"in conflict  {theirs[0].identity}: other results for the same repeat; ours stay",
    ]


def test_merging_nothing(mvkit: Call, place: Path, tmp_path: Path) -> None:
    result = mvkit("store", "merge", tmp_path / "typo.sqlite")
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(f"{tmp_path}/typo.sqlite: there is no store")
    assert not place.exists()


def test_upgrading_a_file(mvkit: Call, keep: Keep) -> None:
    keep(measurement())
    assert mvkit("store", "upgrade").out == "schema 0001  was up to date\n"
    assert mvkit("store", "upgrade", "--json").json == {"before": "0001", "now": "0001"}


def test_a_full_disk_is_one_line(
    mvkit_process: Call, keep: Keep, place: Path, tmp_path: Path
) -> None:
    with open_store(tmp_path / "laptop.sqlite", create=True) as store:
        for _ in range(20):
            store.save(measurement([float(n) for n in range(1, 50)]))
    keep(measurement())
    result = mvkit_process(
        "store", "merge", tmp_path / "laptop.sqlite", "--store", place,
        cwd=tmp_path, file_limit=100_000,
    )  # fmt: skip
    assert (result.code, result.out) == (2, "")
    assert "runs.sqlite: its disk " in result.line
    with open_store(place) as store:
        assert len(store.select()) == 1
