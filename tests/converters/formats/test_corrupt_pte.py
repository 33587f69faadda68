"""Three hundred damaged .pte files: each is refused or judged in one line, and none passes wrongly.

The reader, which runs in the command's own process, gets them as they are. With manifests that
were signed for the damage they reach the runtime, in children that are forked to save time; where
the verdict is "pass" all the same, the file is run again by a script without a line of ours.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from converters.errors import ArtifactError, RuntimeFailure
from converters.formats import xnnpack
from converters.formats.coreml_payload import extract_coreml
from converters.formats.pte import read_pte
from converters.manifest import ParityRecord
from converters.recipe import Recipe
from converters.runtimes import base
from converters.verify import verify
from tests.converters.formats.forked import forked_children
from tests.converters.handmade import assert_one_line, resign
from tests.converters.test_corrupt_files import mutations

pytestmark = pytest.mark.slow

XNNPACK = Recipe("executorch", backend="xnnpack")
PORTABLE = Recipe("executorch", backend="portable")
COREML = Recipe("executorch", backend="coreml")
TIME_LIMIT_S = 20.0
Copied = Callable[..., Path]


def lying(data: bytearray, rng: random.Random) -> bytes:
    """An offset, a count or a size that is huge, or one of the header's fields."""
    aligned = rng.choice((range(0, 64, 4), range(0, len(data) - 8, 4)))
    place = rng.choice(aligned)
    size = rng.choice((4, 8))
    value = rng.choice((2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1, len(data), len(data) - 1, 2**24))
    data[place : place + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(data)


def damaged(data: bytes, seed: int) -> list[bytes]:
    """Thirty-eight forms."""
    rng = random.Random(seed)
    return mutations(data, seed) + [lying(bytearray(data), rng) for _ in range(8)]


@pytest.fixture
def bounded() -> Iterator[None]:
    """For a test that reads damaged files here: no memory beyond a gigabyte more."""
    own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("name", "recipe", "seeds"),
    [("mobilevit", XNNPACK, 2), ("mixed", PORTABLE, 8), ("classifier", COREML, 2)],
)
def test_the_reader_says_one_line(
    name: str, recipe: Recipe, seeds: int, copied: Copied, bounded: None, tmp_path: Path
) -> None:
    file = copied(name, recipe)
    good = file.read_bytes()
    outcomes: Counter[bool] = Counter()
    slowest = 0.0
    for seed in range(seeds):
        for number, data in enumerate(damaged(good, seed)):
            file.write_bytes(data)
            started = time.perf_counter()
            try:
                program = read_pte(file)
                xnnpack.weight_bytes(program)
                extract_coreml(program, tmp_path / f"{seed}-{number}")
                outcomes[True] += 1
            except ArtifactError as error:
                assert_one_line(error, str(file))
                outcomes[False] += 1
            slowest = max(slowest, time.perf_counter() - started)
            shutil.rmtree(tmp_path / f"{seed}-{number}", ignore_errors=True)
    assert sum(outcomes.values()) == 38 * seeds and min(outcomes.values()) >= 5, outcomes
    assert slowest < 5


@pytest.fixture(scope="module")
def forked() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "memory_limit", lambda: 512 * 2**20)
        with forked_children(patch):
            yield


@pytest.mark.parametrize(
    ("name", "seeds"),
    [("classifier", range(2)), ("classifier", range(2, 4)), ("mobilevit", range(2))],
)
def test_signed_for_their_damage_they_are_judged_by_what_they_do(
    name: str, seeds: range, copied: Copied, forked: None, tmp_path: Path
) -> None:
    """With the two tests below, 304 files."""
    outcomes, passed = judged(copied(name, XNNPACK), seeds, tmp_path)
    assert outcomes["refused"] >= 20 and outcomes["fail"] + outcomes["pass"] >= 5, outcomes
    assert run_elsewhere(passed) == {str(file): True for file in passed}


def test_those_of_the_portable_kernels(copied: Copied, forked: None, tmp_path: Path) -> None:
    outcomes, passed = judged(copied("mixed", PORTABLE), range(1), tmp_path)
    assert outcomes["refused"] >= 10, outcomes
    assert run_elsewhere(passed) == {str(file): True for file in passed}


def test_those_of_coreml(copied: Copied, forked: None, tmp_path: Path) -> None:
    outcomes, _ = judged(copied("classifier", COREML), range(1), tmp_path)
    assert outcomes["refused"] >= 10, outcomes


def judged(file: Path, seeds: range, folder: Path) -> tuple[Counter[str], list[Path]]:
    """What becomes of damaged forms of an artifact, and those that pass."""
    outcomes: Counter[str] = Counter()
    passed = []
    good = file.read_bytes()
    for seed in seeds:
        for number, data in enumerate(damaged(good, seed)):
            file.write_bytes(data)
            resign(file)
            try:
                record = verify(file, time_limit_s=TIME_LIMIT_S).checked.parity
            except RuntimeFailure as error:
                assert_one_line(error, str(file))
                outcomes["refused"] += 1
                continue
            assert_sound(record)
            outcomes[record.verdict] += 1
            assert file.read_bytes() == data
            if record.verdict == "pass":
                copy = folder / f"passed-{seed}-{number}"
                copy.mkdir()
                for path in file.parent.glob(f"{file.name}*"):
                    shutil.copy(path, copy)
                passed.append(copy / file.name)
    assert sum(outcomes.values()) == 38 * len(seeds)
    return outcomes, passed


def assert_sound(record: ParityRecord) -> None:
    assert record.reason.isprintable()
    assert record.verdict in ("pass", "fail", "unverified")
    if record.verdict == "pass":
        assert record.cases and record.relative_error is not None
        assert record.relative_error <= record.tolerance


_ELSEWHERE = """
import json, sys
import numpy as np
import torch
from executorch.runtime import Runtime

agree = {}
for file in sys.argv[1:]:
    method = Runtime.get().load_program(file).load_method("forward")
    golden = np.load(file + ".golden.npz")
    manifest = json.load(open(file + ".json"))
    names = [[spec["name"] for spec in manifest[key]] for key in ("inputs", "outputs")]
    agree[file] = True
    for case in {key.split("/in/")[0] for key in golden.files if "/in/" in key}:
        given = [torch.from_numpy(golden[f"{case}/in/{name}"]) for name in names[0]]
        for name, got in zip(names[1], method.execute(given), strict=True):
            wanted, got = golden[f"{case}/out/{name}"], got.numpy()
            close = np.abs(got - wanted).max() <= 1e-5 * np.abs(wanted).max()
            agree[file] &= bool(got.shape == wanted.shape and close)
print(json.dumps(agree))
"""


def run_elsewhere(files: list[Path]) -> dict[str, bool]:
    """Whether executorch's public runtime finds the golden outputs in each of these files."""
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, *map(str, files)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_other_script_notices_a_wrong_file(copied: Copied) -> None:
    """So that the check above can fail."""
    file = copied("classifier", XNNPACK)
    assert run_elsewhere([file]) == {str(file): True}
    data = bytearray(file.read_bytes())
    program = read_pte(file)
    largest = max(program.named_data.values(), key=lambda blob: len(blob.data))
    data[largest.start : largest.start + 64] = bytes(64)
    del program, largest  # the file is mapped
    file.write_bytes(data)
    assert run_elsewhere([file]) == {str(file): False}


def test_a_child_that_hangs_or_dies_is_one_line(copied: Copied, forked: None) -> None:
    """The forked children end as those of `run_file` do."""
    file = copied("classifier", XNNPACK)
    with pytest.raises(RuntimeFailure, match=r"did not finish within 0\.0001 s"):
        verify(file, time_limit_s=0.0001)


def test_the_command_says_one_line_and_no_more(copied: Copied) -> None:
    """The real command and its real child, on files that are damaged and signed anew."""
    file = copied("classifier", XNNPACK)
    good = file.read_bytes()
    codes = set()
    environment = os.environ | {"COLUMNS": "200"}
    for number in (0, 5, 12, 20, 33):
        file.write_bytes(damaged(good, 0)[number])
        resign(file)
        done = subprocess.run(
            [Path(sys.executable).with_name("mvkit"), "verify", file],
            capture_output=True, text=True, timeout=60, check=False, env=environment,
        )  # fmt: skip
        codes.add(done.returncode)
        lines = done.stderr.splitlines()
        if "fail" in done.stdout:
            assert (done.returncode, lines) == (1, [])
        elif "pass" in done.stdout:
            assert (done.returncode, lines) == (0, [])
        else:
            assert done.returncode == 1, done
            assert len(lines) == 1 and lines[0].startswith(f"mvkit: {file}: "), done
        assert "Traceback" not in done.stdout + done.stderr
    assert 1 in codes
