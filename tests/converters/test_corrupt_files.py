"""Three hundred damaged files: each is refused or judged in one line, and none passes wrongly.

As it is, a damaged file is caught by its SHA-256. With a manifest that was signed for the damaged
bytes, they reach the runtime, which runs foreign machine code over them: it may refuse, crash,
hang or ask for all memory, and the command must say so in one line. Where the verdict is "pass"
all the same, the file is run again by other kernels, outside the kit, to see that it is right.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters import load_artifact
from converters.artifact import manifest_path
from converters.errors import ArtifactError, MvkitError, RuntimeFailure
from converters.manifest import ParityRecord
from converters.runtimes import base
from converters.verify import verify
from tests.converters.handmade import assert_one_line, leaves, resign, sign

pytestmark = pytest.mark.slow

FILES = 300
CHUNKS = 10  # so that test processes share the work
TIME_LIMIT_S = 20.0
Mutation = Callable[[bytearray, random.Random], bytes]


def truncated(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def extended(data: bytearray, rng: random.Random) -> bytes:
    return bytes(data) + rng.randbytes(rng.randint(1, 100))


def noise(data: bytearray, rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(0, 2 * len(data)))


def noise_under_a_header(data: bytearray, rng: random.Random) -> bytes:
    kept = rng.choice((8, 32, 64, len(data) // 2))
    return bytes(data[:kept]) + rng.randbytes(len(data) - kept)


def flipped(data: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 64)):
        data[rng.randrange(len(data))] ^= rng.randint(1, 255)
    return bytes(data)


def boundary_values(data: bytearray, rng: random.Random) -> bytes:
    """One to three bytes, which mostly leaves the structure whole and its meaning not."""
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(data))
        data[place] = rng.choice([v for v in (0, 1, 2, 4, 127, 128, 255) if v != data[place]])
    return bytes(data)


def zeroed(data: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(4, 512))
    data[start:end] = bytes(end - start)
    return bytes(data)


def swapped(data: bytearray, rng: random.Random) -> bytes:
    length = rng.randint(4, 256)
    a, b = sorted(rng.sample(range(0, len(data) - length, 4), 2))
    b = max(b, a + length)
    one, other = bytes(data[a : a + length]), bytes(data[b : b + length])
    data[a : a + len(other)], data[b : b + len(other)] = other, one[: len(other)]
    return bytes(data)


# How often of thirty: what a runtime's own check of the structure lets through comes oftener.
_MUTATIONS: dict[Mutation, int] = {
    truncated: 2,
    extended: 1,
    noise: 2,
    noise_under_a_header: 2,
    flipped: 5,
    boundary_values: 9,
    zeroed: 5,
    swapped: 4,
}


def mutations(data: bytes, seed: int) -> list[bytes]:
    """Thirty damaged forms of a file, none the same as it."""
    rng = random.Random(seed)
    found: list[bytes] = []
    for mutation, count in _MUTATIONS.items():
        wanted = len(found) + count
        while len(found) < wanted:
            mutated = mutation(bytearray(data), rng)
            if mutated != data and mutated not in found:
                found.append(mutated)
    return found


def test_as_they_are_all_are_caught_by_their_digest(copied: Callable[[str], Path]) -> None:
    file = copied("classifier")
    good = file.read_bytes()
    seen = set()
    for seed in range(CHUNKS):
        for data in mutations(good, seed):
            seen.add(data)
            file.write_bytes(data)
            with pytest.raises(ArtifactError, match=r"was (truncated|altered)") as caught:
                verify(file)
            assert_one_line(caught.value, str(file))
    assert len(seen) > 0.98 * FILES  # two seeds may agree
    file.write_bytes(good)
    load_artifact(file)


@pytest.fixture(params=range(CHUNKS))
def signed(
    request: pytest.FixtureRequest, copied: Callable[[str], Path]
) -> list[tuple[Path, bytes]]:
    """Thirty damaged files, each with the proof of the good one signed anew for it."""
    file = copied("classifier")
    found = []
    for i, data in enumerate(mutations(file.read_bytes(), request.param)):
        folder = file.parent / str(i)
        folder.mkdir()
        for path in file.parent.glob("classifier-*"):
            shutil.copy(path, folder)
        (folder / file.name).write_bytes(data)
        resign(folder / file.name)
        found.append((folder / file.name, data))
    return found


def test_signed_for_their_damage_they_are_judged_by_what_they_do(
    signed: list[tuple[Path, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "memory_limit", lambda: 512 * 2**20)
    outcomes: Counter[str] = Counter()
    passed = []
    for file, data in signed:
        try:
            record = verify(file, time_limit_s=TIME_LIMIT_S).checked.parity
        except RuntimeFailure as error:
            assert_one_line(error, str(file))
            outcomes["refused"] += 1
        else:
            assert_sound(record)
            outcomes[record.verdict] += 1
            if record.verdict == "pass":
                passed.append(file)
        assert file.read_bytes() == data
    assert outcomes["refused"] >= 10 and sum(outcomes.values()) == FILES // CHUNKS
    assert outcomes["fail"] + outcomes["pass"] >= 1, outcomes
    assert run_elsewhere(passed) == {str(file): True for file in passed}


def assert_sound(record: ParityRecord) -> None:
    assert record.reason.isprintable()
    assert record.verdict in ("pass", "fail")
    if record.verdict == "pass":
        assert len(record.cases) == 6
        assert record.relative_error is not None and record.relative_error <= record.tolerance


# The plain reference kernels, in a process without a line of ours.
_ELSEWHERE = """
import json, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

agree = {}
for file in sys.argv[1:]:
    interpreter = Interpreter(file, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    runner = interpreter.get_signature_runner()
    golden = np.load(file + ".golden.npz")
    cases = [key.removesuffix("/in/image") for key in golden.files if key.endswith("/in/image")]
    agree[file] = len(cases) == 6
    for case in cases:
        wanted = golden[case + "/out/output"]
        got = runner(image=golden[case + "/in/image"])["output"]
        close = np.abs(got - wanted).max() <= 2e-5 * np.abs(wanted).max()
        agree[file] &= bool(got.shape == wanted.shape and close)
print(json.dumps(agree))
"""


def run_elsewhere(files: list[Path]) -> dict[str, bool]:
    """Whether other kernels find the golden outputs in each of these files."""
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, *map(str, files)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_other_kernels_notice_a_wrong_file(copied: Callable[[str], Path]) -> None:
    """So that the check above can fail."""
    file = copied("classifier")
    good = file.read_bytes()
    assert run_elsewhere([file]) == {str(file): True}
    rng = random.Random(0)
    for _ in range(100):  # some file that runs and computes something else
        file.write_bytes(zeroed(bytearray(good), rng))
        resign(file)
        try:
            if verify(file, time_limit_s=TIME_LIMIT_S).checked.parity.verdict == "fail":
                break
        except RuntimeFailure:
            continue
    assert run_elsewhere([file]) == {str(file): False}


@pytest.mark.parametrize("seed", range(2))
def test_the_command_says_one_line_and_no_more(seed: int, copied: Callable[[str], Path]) -> None:
    """The real command, on files that are damaged, signed anew or not."""
    file = copied("classifier")
    good, proof = file.read_bytes(), manifest_path(file).read_bytes()
    rng = random.Random(seed)
    codes = set()
    for mutation in (truncated, noise_under_a_header, boundary_values, zeroed, zeroed, swapped):
        file.write_bytes(mutation(bytearray(good), rng))
        manifest_path(file).write_bytes(proof)
        if mutation is not truncated:
            resign(file)
        done = subprocess.run(
            [Path(sys.executable).with_name("mvkit"), "verify", file],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        codes.add(done.returncode)
        lines = done.stderr.splitlines()
        if "fail" in done.stdout:
            assert (done.returncode, lines) == (1, [])
        elif "pass" in done.stdout:
            assert (done.returncode, lines) == (0, [])
        else:
            assert done.returncode == (2 if mutation is truncated else 1), done
            assert len(lines) == 1 and lines[0].startswith(f"mvkit: {file}: "), done
        assert "Traceback" not in done.stdout + done.stderr
    assert codes >= {1, 2}


def test_damaged_golden_files(copied: Callable[[str], Path]) -> None:
    """Signed anew, in this process: NumPy and zipfile read them, which do not crash."""
    file = copied("mixed")
    manifest = load_artifact(file).manifest
    path = file.parent / manifest.golden.name
    good = path.read_bytes()
    wanted = {case.name: case for case in load_artifact(file).golden()}
    outcomes: Counter[bool] = Counter()
    for seed in range(4):
        for data in mutations(good, seed):
            path.write_bytes(data)
            resign(file)
            try:
                cases = load_artifact(file).golden()
            except ArtifactError as error:
                assert_one_line(error, str(path))
                outcomes[False] += 1
                continue
            outcomes[True] += 1
            for case in cases:  # nothing but what was stored: each entry has a checksum
                for name, array in (case.inputs | case.outputs).items():
                    stored = wanted[case.name].inputs | wanted[case.name].outputs
                    assert np.array_equal(array, stored[name])
    assert outcomes[False] >= 100


def replaced(document: Any, rng: random.Random) -> None:
    *path, last = rng.choice(leaves(document))
    for key in path:
        document = document[key]
    choice: tuple[Any, ...] = (
        None, [], {}, "", "x", "../x", "a\nb", "\ud800", -1, 0, 1, 10**18, 0.5, 1e300, True, [1],
    )  # fmt: skip
    document[last] = rng.choice(choice)


def removed(document: Any, rng: random.Random) -> None:
    *path, last = rng.choice(leaves(document))
    for key in path:
        document = document[key]
    del document[last]


def moved(document: Any, rng: random.Random) -> None:
    """A value where another was, as it is."""
    nodes = leaves(document)
    *path, last = rng.choice(nodes)
    value = document
    for key in rng.choice(nodes):
        value = value[key]
    value = json.loads(json.dumps(value))
    for key in path:
        document = document[key]
    document[last] = value


def test_manifests_that_say_something_else(copied: Callable[[str], Path]) -> None:
    """Values replaced, removed and moved about, and the whole signed anew."""
    file = copied("classifier")
    beside = manifest_path(file)
    good = beside.read_text()
    rng = random.Random(0)
    refused = 0
    for i in range(150):
        document = json.loads(good)
        for _ in range(rng.choice((1, 1, 2))):
            (replaced, removed, moved)[i % 3](document, rng)
        beside.write_text(sign(document))
        try:
            load_artifact(file).golden()
        except MvkitError as error:
            assert isinstance(error, ArtifactError)
            assert_one_line(error, str(file.parent))
            refused += 1
    assert refused >= 100


def test_damaged_manifests(copied: Callable[[str], Path]) -> None:
    """Bytes, not values: what is left of the signature does not fit, or it is no JSON."""
    file = copied("classifier")
    beside = manifest_path(file)
    good = beside.read_bytes()
    manifest = load_artifact(file).manifest
    for seed in range(4):
        for data in mutations(good, seed):
            beside.write_bytes(data)
            try:
                assert load_artifact(file).manifest == manifest  # only blanks were touched
                assert re.sub(rb"\s", b"", data) == re.sub(rb"\s", b"", good)
            except ArtifactError as error:
                assert_one_line(error, str(file.parent))
