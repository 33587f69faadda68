"""What `mvkit convert` refuses, in one line and with nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mobilevit_kit.commands import NET, NET_INPUT, TO_TFLITE, Call, contents

SIZES = (
    (["--input-size", "0"], "Invalid value for '--input-size': '0' is not a size such as 192x320"),
    (["--input-size", "0x64"], "Invalid value for '--input-size': '0x64' is not a size"),
    (["--input-size", "-64"], "Invalid value for '--input-size': '-64' is not a size"),
    (["--input-size", "large"], "Invalid value for '--input-size': 'large' is not a size"),
    (["--input-size", "64x64x3"], "Invalid value for '--input-size': '64x64x3' is not a size"),
    (["--input-size", "6.4"], "Invalid value for '--input-size': '6.4' is not a size"),
    (["--input-size", "9" * 5000], "Invalid value for '--input-size': that is too large"),
    (["--input-size", "1x1"], "input size 1x1 is too small: mobilevit_xs needs at least 32x32"),
    (
        ["--input-size", "100000x100000"],
        "input size 100000x100000 is too large: more than 4 million",
    ),
    (["--batch", "0"], "--batch must be 1 or more, not 0"),
    (["--batch", "-1"], "--batch must be 1 or more, not -1"),
    (["--batch", "two"], "Invalid value for '--batch': 'two' is not a valid integer."),
    (["--num-classes", "-1"], "--num-classes must be 0 or more, not -1"),
    (["--num-classes", "1000000000"], "--num-classes must be 100000 or less"),
    (["--in-channels", "0"], "--in-channels must be 1 or more, not 0"),
    (["--seed", "-1"], "--seed must be from 0 to 4294967295, not -1"),
    (["--jobs", "0"], "Invalid value for '--jobs': 0 is not in the range 1<=x<=64."),
)


@pytest.mark.parametrize(("options", "line"), SIZES)
def test_sizes_that_are_refused(
    mvkit: Call, workplace: Path, options: list[str], line: str
) -> None:
    before = contents(workplace)
    result = mvkit("convert", "mobilevit_xs", *TO_TFLITE, *options)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line) and len(result.line) < 200
    assert contents(workplace) == before


def test_sizes_are_refused_before_torch_is_imported(tmp_path: Path) -> None:
    calls = [["convert", "mobilevit_xs", *TO_TFLITE, *options] for options, _ in SIZES]
    code = (
        "import sys\n"
        "from mobilevit_kit.cli import main\n"
        f"for call in {calls!r}:\n"
        "    sys.argv = ['mvkit', *call]\n"
        "    try: main()\n"
        "    except SystemExit as end: assert end.code == 2, call\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(calls)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["mobilevit_xs"], "Missing option '--target'."),
        ([*TO_TFLITE], "no model is named; `mvkit models` lists them; --all converts each"),
        (["mobilevit_xs", "--target", "tflight"], "unknown target 'tflight'; did you mean tflite?"),
        (["mobilevit_xs", "--target", "onnx"], "unknown target 'onnx'; known: tflite"),
        (["mobilevit_xss", *TO_TFLITE], "unknown model 'mobilevit_xss'; did you mean mobilevit_x"),
        (["resnet50", *TO_TFLITE], "unknown model 'resnet50'; `mvkit models` lists them"),
        (["mobilevit_xs", "mobilevit_xz", *TO_TFLITE], "unknown model 'mobilevit_xz'; did you"),
        (["net.py", *TO_TFLITE, *NET_INPUT], "'net.py' does not say which attribute makes"),
        (["net.py:make", *TO_TFLITE], "net.py:make needs to know its inputs; give --input 1x3x"),
        (["net.py:mak", *TO_TFLITE, *NET_INPUT], "net.py has no attribute 'mak'; did you mean"),
        (["nat.py:make", *TO_TFLITE, *NET_INPUT], "nat.py: no such file"),
        (["net.py:make", *TO_TFLITE, "--input", "1,3,32,48"], "--input 1,3,32,48: a shape is"),
        (["net.py:make", *TO_TFLITE, "--input", "1x3x0x48"], "--input 1x3x0x48: a shape is"),
        (["net.py:make", *TO_TFLITE, "--input", "x=1x3:f32"], "--input x=1x3:f32: unknown type"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, *NET_INPUT], "the module's forward() does not"),
        (["net.py:nn.CosineSimilarity", *TO_TFLITE, *NET_INPUT], "the module's forward() does not"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--batch", "2"], "--batch is for reference"),
        (["mobilevit_xs", *TO_TFLITE, *NET_INPUT], "--input is for your own networks"),
        (["mobilevit_xs", *TO_TFLITE, "--weights", "w.pt"], "the weights file w.pt does not"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--weights", "w.pt"], "the weights file w.pt"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--weights", "timm"], "--weights timm is for ref"),
        (["net.py:make", "./net.py:make", *TO_TFLITE, *NET_INPUT], "the files of net.py:make and"),
        (["net.py:make", *TO_TFLITE, "--input", "1x48", "--mean", "0"], "preprocessing needs"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--mean", "1,2"], "--mean must be a list of 3"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--preprocessing", "p.toml"], "cannot read p.to"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--embed-preprocessing"], "embedding the prepr"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--layout", "chw"], "Invalid value for '--l"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--output", "net.py"], "cannot write to net.py:"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--output", "net.py/a"], "cannot write to net.py"),
        (["net.py:make", *TO_TFLITE, *NET_INPUT, "--output", "/proc/x"], "cannot write to /proc"),
    ],
)  # fmt: skip
def test_mistakes(
    mvkit: Call, workplace: Path, quick_conversion: None, args: list[str], line: str
) -> None:
    before = contents(workplace)
    result = mvkit("convert", *args, "--no-verify")
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line)
    assert contents(workplace) == before


def test_what_a_network_does_not_take_is_one_line(mvkit: Call, workplace: Path) -> None:
    result = mvkit("convert", "net.py:make", *TO_TFLITE, "--input", "1x4x32x48")
    assert result.code != 0 and "expected input[1, 4, 32, 48] to have 3 channels" in result.line
    assert contents(workplace) == {"net.py": NET.encode()}


@pytest.mark.parametrize("absent", ["torch", "litert_torch"])
def test_a_missing_extra_is_named(mvkit_process: Call, tmp_path: Path, absent: str) -> None:
    for model in (["mobilevit_xs"], ["net.py:make", *NET_INPUT]):
        result = mvkit_process("convert", *model, *TO_TFLITE, cwd=tmp_path, absent=(absent,))
        assert (result.code, result.out) == (2, "")
        assert result.line == (
            f"{absent.replace('_', '-')} is not installed; "
            "install it with: pip install 'mobilevit-kit[tflite]'"
        )
    assert contents(tmp_path) == {}
