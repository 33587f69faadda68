"""`mvkit bench`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from android_harness.devices import open_device
from android_harness.records import Measurement
from android_harness.store import Store, open_store
from converters import Artifact
from converters.errors import StoreError
from converters.recipe import Recipe
from tests.android_harness.scripted import script, scripted_bundle
from tests.fake_phone.fixtures import MakePhone
from tests.fake_phone.phone import FakePhone
from tests.fake_phone.state import RUNS_HERE
from tests.mobilevit_kit.cli.test_startup import imported_by, running
from tests.mobilevit_kit.commands import Call

QUICK = ("--warmup", "0", "--iterations", "2", "--min-seconds", "0")
ALWAYS = ("golden", "models", "mvkit-litert")


@pytest.fixture(autouse=True)
def user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "STATE", "DATA"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("MVKIT_STORE", str(tmp_path / "runs.sqlite"))
    monkeypatch.setenv("MVKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(converted: Callable[..., Artifact], tmp_path: Path) -> Path:
    artifact = converted("classifier")
    scripted_bundle(tmp_path / "cache", artifact)
    return artifact.path


@pytest.fixture
def phone(fake_phone: MakePhone) -> FakePhone:
    return fake_phone(properties=RUNS_HERE)


def stored() -> list[Measurement]:
    with open_store(os.environ["MVKIT_STORE"]) as store:
        return list(store.load([one.identity for one in store.select()]))


def test_a_file_on_the_only_phone(mvkit: Call, phone: FakePhone, file: Path) -> None:
    result = mvkit("bench", file, *QUICK, "--label", "branch=main", "--memory")
    assert (result.code, result.err) == (0, "")
    [found] = stored()
    row = result.out.splitlines()[2]
    for cell in (found.identity[:8], "classifier-fp32 tflite fp32", phone.serial, "valid",
                 "xnnpack, 1 thread", "branch=main"):  # fmt: skip
        assert cell in row
    assert f"{found.identity[:8]}  outputs on the device: relative error at most" in result.out
    assert f"{found.identity[:8]}  peak memory 20.0 MiB" in result.out
    assert mvkit("bench", file, *QUICK, "--quiet").out == ""


def test_every_device_and_number_of_threads(mvkit: Call, fake_phone: MakePhone, file: Path) -> None:
    phones = [fake_phone(properties=RUNS_HERE) for _ in range(2)]
    result = mvkit(
        "bench", file, *QUICK, "--repeats", 2, "--device", "all", "--device", "host",
        "--threads", "1,4", "--json",
    )  # fmt: skip
    assert (result.code, result.err) == (0, "")
    serials = [*sorted(phone.serial for phone in phones), "host"]
    measured = [(one["device"], one["run"]["options"]["threads"]) for one in result.json]
    assert measured[-1] == ("host", 4)
    assert sorted(measured) == [(serial, threads) for serial in serials for threads in (1, 4)]
    for one in result.json:
        assert one["error"] is None and one["file"] == str(file)
        assert one["run"]["parity"]["verdict"] == "pass"
        assert 1.0 <= one["run"]["statistics"]["median"] < 1.1
        assert one["run"]["emulated"] is False
    assert len(stored()) == 6


def test_cores_are_chosen_on_the_phone(mvkit: Call, phone: FakePhone, file: Path) -> None:
    assert mvkit("bench", file, *QUICK, "--cores", "big", "--threads", "2").code == 0
    [found] = stored()
    assert found.options.cores == 0b1100
    result = mvkit("bench", file, *QUICK, "--cores", "big", "--threads", "3")
    assert result.code == 2 and "--cores big (2)" in result.line


def test_files_that_take_turns_are_compared_with_the_first(
    mvkit: Call, phone: FakePhone, file: Path, converted: Callable[..., Artifact]
) -> None:
    plain = converted("classifier", Recipe("tflite", rewrites=())).path
    result = mvkit("bench", file, plain, *QUICK, "--interleave", "--threads", "1,2")
    assert (result.code, result.err) == (0, "")
    assert result.out.count("xnnpack, 1 thread, in turns of 2") == 4  # in both tables
    assert result.out.count("B takes 1.000 times as long") == 2  # each was loaded last in turn
    assert result.out.count("the files took turns: the ratio is that of 5 pairs of processes") == 2
    again = mvkit("compare", "latest~1", "latest", "--json").json["comparisons"][0]
    assert again["in_turns"] == 5 and again["ratio"] == pytest.approx(1, abs=0.001)
    first, second = mvkit("bench", file, plain, *QUICK, "--interleave", "--json").json
    assert first["compared"] is None and second["compared"]["in_turns"] == 5
    assert second["run"]["options"]["beside"] == first["run"]["options"]["beside"]
    assert mvkit("bench", file, *QUICK, "--json").json[0]["compared"] is None


def test_files_that_take_turns_have_more_of_them_by_default(
    mvkit: Call, phone: FakePhone, file: Path, converted: Callable[..., Artifact]
) -> None:
    plain = converted("classifier", Recipe("tflite", rewrites=())).path
    short = ("--warmup", 0, "--iterations", 1)
    mvkit("bench", file, *short)
    mvkit("bench", file, plain, "--interleave", *short)
    asked = sorted((one.options.repeats, one.options.min_seconds) for one in stored())
    assert asked == [(5, 1.0), (10, 3.0), (10, 3.0)]


def test_an_emulated_latency_has_the_mark(mvkit: Call, fake_phone: MakePhone, file: Path) -> None:
    fake_phone(properties={**RUNS_HERE, "ro.kernel.qemu": "1"})
    result = mvkit("bench", file, *QUICK)
    assert "(emulated)" in result.out and " emulated " in result.out
    assert mvkit("bench", file, *QUICK, "--json").json[0]["run"]["emulated"] is True


def test_an_invalid_run_exits_with_1(mvkit: Call, phone: FakePhone, file: Path) -> None:
    script(
        phone,
        """on_end() {
            [ -z "$outputs" ] || return 0
            file="$STATE/dumpsys/thermalservice"
            sed 's/^Thermal Status: 0/Thermal Status: 3/' "$file" >"$STATE/new"
            mv "$STATE/new" "$file"
        }""",
    )
    result = mvkit("bench", file, *QUICK, "--repeats", 1)
    assert result.code == 1
    [found] = stored()
    assert f"{found.identity[:8]}  invalid: repeat 1: throttled: thermal status 3" in result.out


def test_a_runner_that_fails_exits_with_1(mvkit: Call, phone: FakePhone, file: Path) -> None:
    script(
        phone,
        """cat <<'END'
{"event":"error","message":"evil\\u001b[2J\\nline"}
END
exit 3""",
    )
    result = mvkit("bench", file, *QUICK)
    assert (result.code, result.out) == (1, "")
    assert result.line == (
        f"{phone.serial}: the runner failed: evil?[2J line; it ended with exit code 3"
    )
    document = mvkit("bench", file, *QUICK, "--json").json
    assert document[0]["run"] is None and "the runner failed" in document[0]["error"]


def test_a_store_that_takes_nothing_is_said_first(
    mvkit: Call, phone: FakePhone, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(store: Store) -> None:
        raise StoreError("its disk is full")

    monkeypatch.setattr(Store, "check_writable", full)
    result = mvkit("bench", file, *QUICK)
    assert result.code == 2 and result.line == "its disk is full"
    assert not phone.files.path("/data/local/tmp/mvkit").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--threads", "0"), "'0' is no number of threads"),
        (("--threads", "1,,4"), "'1,,4' is no number of threads"),
        (("--threads", "999"), "'999' is no number of threads"),
        (("--label", "main"), "'main' is no label such as branch=main"),
        (("--label", "=main"), "'=main' is no label"),
        (("--cores", "huge"), "--cores huge: neither big, little nor a mask"),
        (("--repeats", "0"), "0 is not in the range"),
        (("--interleave",), "classifier-fp32.tflite is alone"),
        (("--runner", "other"), "--runner other: unknown; one of mvkit, benchmark_model=PATH"),
        (("--runner", "executor_runner=/x"), "--runner executor_runner: does not run tflite"),
        (("--device", "R5CT"), "R5CT: no such device; adb knows none"),
        (("--store", "mysql://x/y"), "mysql"),
    ],
)
def test_a_mistake_is_one_line(
    mvkit: Call, adb_server: object, fake_phone: MakePhone, file: Path, args: tuple[str, ...],
    message: str,
) -> None:  # fmt: skip
    result = mvkit("bench", file, "--device", "host", *args)
    assert result.code == 2 and message in result.line
    assert not Path(os.environ["MVKIT_STORE"]).exists()


def test_what_is_no_artifact(mvkit: Call, tmp_path: Path) -> None:
    result = mvkit("bench", tmp_path / "missing.tflite", "--device", "host")
    assert result.code == 2 and result.line.endswith("missing.tflite: no such file")
    (tmp_path / "foreign.tflite").write_bytes(b"x")
    result = mvkit("bench", tmp_path / "foreign.tflite", "--device", "host")
    assert result.code == 2 and "its manifest foreign.tflite.json is missing" in result.line


def test_a_pte_keeps_its_backend(mvkit: Call, converted: Callable[..., Artifact]) -> None:
    path = converted("classifier", "executorch").path
    result = mvkit("bench", path, "--device", "host", "--backend", "gpu")
    assert result.code == 2 and "was converted for the backend xnnpack, not gpu" in result.line


def test_a_lab_machine_needs_no_torch(file: Path) -> None:
    loaded = imported_by(running("bench", str(file), "--device", "host", *QUICK))
    assert "sqlalchemy" in loaded
    assert not loaded & {"torch", "tensorflow", "litert_torch", "coremltools", "executorch"}


@pytest.fixture
def bench(
    file: Path, phone: FakePhone, tmp_path: Path
) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts the command in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [
            Path(sys.executable).with_name("mvkit"), "bench", file, *QUICK, "--repeats", "30",
            "--device", phone.serial,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_ended_at_ten_random_moments(
    bench: Callable[[], subprocess.Popen[str]], phone: FakePhone, number: signal.Signals
) -> None:
    """What was stored stays, nothing is doubled, and the phone is left as it was."""
    device = open_device(phone.serial)
    script(phone, "on_run() { sleep 0.7; }")  # so that 30 repeats take longer than all moments
    kept: dict[int, object] = {}
    for moment in range(10):
        process = bench()
        time.sleep(random.Random(moment).uniform(0.5, 3.0))
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
        if number != signal.SIGKILL:
            assert (process.returncode, out) == (130, "") or process.returncode == -number
            assert phone.state.get("fixed-performance") == "false", err
            assert device.stop_leftovers() == 0
        if Path(os.environ["MVKIT_STORE"]).exists() and (runs := stored()):
            [run] = runs
            now = {one.index: one.timings.samples for one in run.repeats}
            assert kept.items() <= now.items()
            kept = dict(now)
    script(phone, "")
    out, err = bench().communicate(timeout=120)
    [found] = stored()
    assert found.validity == "valid", (out, err)
    assert [one.index for one in found.repeats] == list(range(30))
    assert kept.items() <= {one.index: one.timings.samples for one in found.repeats}.items()
    assert phone.state.get("fixed-performance") == "false"
    assert device.stop_leftovers() == 0
    left = {one.name for one in phone.files.path(device.folder).iterdir()}
    assert left == {".digests", *ALWAYS}
