"""A runner that is a shell script: it speaks the protocol, and goes wrong where a test says so.

It lies in the cache as a bundle that `mvkit runner build` made, so that `mvkit bench` finds it. Its
outputs are the golden ones of one artifact, and its times tell processes apart. Of models that take
turns each sample is a turn, and the second one loaded takes 10% longer than the first. Shell
functions that a test writes to the phone's /state/runner.sh are called on its way:

    on_start  before anything     on_load  after loading     on_run   before the timed runs
    on_time   for each sample, which it may change: `sample`          on_end   before the end
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from android_harness.bundles import PROGRAMS, Bundle, sources_digest, write_record
from android_harness.records import Measurement, Options
from android_harness.store import Store
from converters import Artifact
from tests.fake_phone.phone import FakePhone

QUICK = Options(warmup=1, iterations=3, min_seconds=0.0)
FOLDER = "/data/local/tmp/mvkit"
KEPT = {".digests", "golden", "models", "mvkit-litert"}  # what the next command need not push

_SCRIPT = """\
here=${0%/*}
on_start() { :; }; on_load() { :; }; on_run() { :; }; on_time() { :; }; on_end() { :; }
if [ -n "$STATE" ] && [ -e "$STATE/runner.sh" ]; then . "$STATE/runner.sh"; fi
input= outputs= warmup=0 iterations=1 memory= profile= models=0
while [ $# -gt 0 ]; do
    case $1 in
        --memory) memory=1; shift; continue ;;
        --profile) profile=1; shift; continue ;;
        --input) [ -n "$input" ] || input=$2 ;;
        --outputs) outputs=$2 ;;
        --warmup) warmup=$2 ;;
        --iterations) iterations=$2 ;;
        --model) [ -s "$2" ] || { echo '{"event":"error","message":"no model"}'; exit 1; }
            models=$((models + 1)) ;;
    esac
    shift 2
done
at=0 lines=0
say() { echo "$1"; lines=$((lines + 1)); }
span() {
    say "{\\"event\\":\\"$1\\",\\"at\\":$at,\\"ns\\":$2${turn:+,\\"turn\\":$turn}}"
    at=$((at + $2))
}
on_start
say '{"event":"runner","protocol":1,"runtime":"scripted","emulated":'"${emulated:-false}"'}'
model=0; while [ $model -lt $models ]; do
    turn=
    [ $models -eq 1 ] || say '{"event":"model","index":'$model'}'
    span load 2000000
    on_load
    span compile 3000000
    span first 4000000
    say '{"event":"delegate","name":"scripted"}'
    i=0; while [ $i -lt $warmup ]; do span warmup 1100000; i=$((i + 1)); done
    on_run
    say '{"event":"timed","count":'$iterations'}'
    [ $models -eq 1 ] || turn=0
    i=0; while [ $i -lt $iterations ]; do
        sample=$((1000000 + 100000 * model + $$ % 10000)); on_time; span sample $sample
        i=$((i + 1)); [ -z "$turn" ] || turn=$i
    done
    model=$((model + 1))
done
if [ -n "$profile" ]; then
    say '{"event":"operator","name":"conv1","kind":"CONV_2D","ns":'$((iterations * 500000))',"calls":'$iterations'}'
fi
if [ -n "$outputs" ]; then
    case=${input##*/}; case=${case%%-*}
    for file in "$here"/expected/$case-*.bin; do
        number=${file##*-}; cp "$file" "$outputs-$number"
        say "{\\"event\\":\\"output\\",$(cat "${file%.bin}.json")}"
    done
fi
if [ -n "$memory" ]; then say '{"event":"memory","peak_kib":20480}'; fi
on_end
echo '{"event":"end","lines":'$lines'}'
"""  # noqa: E501


def scripted_bundle(cache: Path, artifact: Artifact) -> Path:
    """Makes the bundle in the cache folder of the kit; its place there."""
    target = artifact.manifest.target
    folder = cache / "runners" / "scripted" / PROGRAMS[target]
    expected = folder / "expected"
    expected.mkdir(parents=True)
    (folder / "run").write_text(_SCRIPT)
    for number, case in enumerate(artifact.golden()):
        for position, spec in enumerate(artifact.manifest.outputs):
            data = case.outputs[spec.name].tobytes()
            stem = expected / f"{number}-{position}"
            stem.with_suffix(".bin").write_bytes(data)
            stem.with_suffix(".json").write_text(f'"bytes":{len(data)},"crc32":{zlib.crc32(data)}')
    digest = sources_digest()
    bundle = Bundle(folder, target, "host", "scripted", "none", digest, "2026-01-01T00:00:00+00:00")
    write_record(bundle, folder.parent)
    return folder


def script(phone: FakePhone, text: str) -> None:
    """Makes the runner on this phone go wrong; an empty text puts it right."""
    phone.state.set("runner.sh", text)


def in_the_third_repeat(fault: str, where: str = "on_run") -> str:
    """A script that does something once: when two repeats have been measured."""
    return f"""
    count() {{ read n <"$STATE/count" || n=0; n=$((n + 1)); echo $n >"$STATE/count"; }}
    {where}() {{ [ -z "$outputs" ] || return 0; count; [ $n -ne 3 ] || {{ {fault.strip()}; }}; }}
    """


@contextmanager
def when_told(phone: FakePhone, act: Callable[[], object]) -> Iterator[None]:
    """Does something from outside, once, when the script on the phone does `touch $STATE/now`."""
    moment = phone.files.path("/state/now")
    over = threading.Event()

    def wait() -> None:
        while not moment.exists():
            if over.is_set():
                return
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert moment.exists()


def stored(store: Store) -> Measurement:
    """The only measurement that there is."""
    [summary] = store.select()
    [found] = store.load([summary.identity])
    return found


def samples_of(measurement: Measurement) -> dict[int, Any]:
    return {one.index: one.timings.samples for one in measurement.repeats}


def left_on(phone: FakePhone) -> set[str]:
    return {one.name for one in phone.files.path(FOLDER).iterdir()}
