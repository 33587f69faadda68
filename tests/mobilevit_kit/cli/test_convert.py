"""`mvkit convert`: files, and what is said about them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from converters import load_artifact
from converters.errors import ConversionError
from converters.route import Route
from converters.targets import tflite
from mobilevit_kit import jobs, source
from mobilevit_kit.jobs import Job, Outcome
from mobilevit_kit.models import list_models
from tests.mobilevit_kit.commands import NET, NET_INPUT, NET_RECIPE, TO_TFLITE, Call, contents


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_json_of_a_users_network(user_artifact: Path) -> None:
    (result,) = json.loads((user_artifact.parents[1] / "result.json").read_text())
    manifest = load_artifact(user_artifact).manifest
    assert result["model"] == "net.py:make" and result["status"] == "converted"
    assert Path(result["file"]).name == "net-make-fp32.tflite"
    assert result["bytes"] == user_artifact.stat().st_size
    assert result["sha256"] == manifest.file.sha256
    assert result["verdict"] == "pass" and 0 < result["relative_error"] <= 1e-5
    assert result["host_latency_ms"] > 0 and result["seconds"] > 0
    assert names(user_artifact.parent) == [
        "net-make-fp32.tflite",
        "net-make-fp32.tflite.golden.npz",
        "net-make-fp32.tflite.json",
    ]
    (image,) = manifest.inputs
    assert image.preprocessing is not None and image.preprocessing.mean == (0.4, 0.5, 0.6)
    assert [case.kind for case in manifest.parity.cases].count("photo") == 4


def test_the_table_of_a_reference_model(reference_artifact: Path) -> None:
    out = (reference_artifact.parents[1] / "result.txt").read_text()
    header, _, row, *lines = out.splitlines()
    assert header.split("  ")[0] == "file"
    assert row.startswith("mvkit-out/mobilevit_xxs-fp32.tflite ")
    assert " pass " in row and " ms, 1 thread" in row
    assert any(line.startswith("weights  seeded random weights (seed 0): not a") for line in lines)
    assert any(line.startswith("checked  relative error at most ") for line in lines)
    assert lines[-1] == "next     mvkit verify mvkit-out/mobilevit_xxs-fp32.tflite"


REPEATED = f"""
import sys
sys.argv = ["mvkit", "convert", "mobilevit_xxs", *{TO_TFLITE!r}, "--input-size", "64", *{{extra}}]
from mobilevit_kit.cli import main
try:
    main()
except SystemExit as end:
    print("torch" in sys.modules, file=sys.stderr)
    raise
"""


def test_the_same_command_returns_before_torch_is_imported(reference_artifact: Path) -> None:
    folder = reference_artifact.parents[1]
    before = contents(folder)

    def again(*extra: str) -> subprocess.CompletedProcess[str]:
        code = REPEATED.format(extra=extra)
        return subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True
        )

    done = again()
    assert (done.returncode, done.stderr) == (0, "False\n")
    assert "unchanged, nothing to do" in done.stdout
    (result,) = json.loads(again("--json").stdout)
    assert result["status"] == "unchanged" and result["verdict"] == "pass"
    done = again("--quiet")
    assert (done.returncode, done.stdout) == (0, "")
    # Another file under this name needs a word, and that too is found out without torch.
    done = again("--num-classes", "10")
    assert done.returncode == 2 and done.stderr.endswith("False\n")
    assert "made from other weights, options or versions; pass --force" in done.stderr
    assert contents(folder) == before


def test_preprocessing_by_flags_and_by_file_is_the_same(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    Path("recipe.toml").write_text(
        'mean = [0.4, 0.5, 0.6]\nstd = [0.2, 0.3, 0.4]\nchannel_order = "bgr"\n'
    )
    call = ("convert", "net.py:make", *TO_TFLITE, *NET_INPUT, "--no-verify", "--json")
    assert mvkit(*call, *NET_RECIPE).json[0]["status"] == "converted"
    assert mvkit(*call, "--preprocessing", "recipe.toml").json[0]["status"] == "unchanged"
    result = mvkit(*call, "--preprocessing", "recipe.toml", "--crop", "0.9")
    assert result.line.startswith("--preprocessing and single flags such as --mean exclude each")


def test_flags_apply_to_every_network_of_a_command(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    models = ("net.py:make", "net.py:Net")
    result = mvkit(
        "convert", *models, *TO_TFLITE, *NET_INPUT, "--crop", "0.5", "--no-verify", "--json",
        "--embed-preprocessing",
    )  # fmt: skip
    assert result.code == 0 and [one["model"] for one in result.json] == list(models)
    for one in result.json:
        (image,) = load_artifact(Path(one["file"])).manifest.inputs
        assert image.preprocessing is not None and image.preprocessing.crop == 0.5
        assert (image.dtype, image.shape, image.layout) == ("uint8", (1, 32, 48, 3), "NHWC")


def test_all_the_reference_models(mvkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them, and those that were named, once."""
    asked: list[str] = []

    def convert_nothing(todo: list[Job], workers: int, report: object) -> Iterator[Outcome]:
        asked.extend(job.request.model for job in todo)
        yield from (Outcome(job, error=ConversionError("not today")) for job in todo)

    monkeypatch.setattr(jobs, "run_jobs", convert_nothing)
    assert mvkit("convert", "mobilevit_s", "--all", *TO_TFLITE).code == 1
    assert asked[0] == "mobilevit_s" and sorted(asked) == sorted(list_models())


def test_no_verify_says_unverified(mvkit: Call, workplace: Path, quick_conversion: None) -> None:
    result = mvkit("convert", "net.py:make", *TO_TFLITE, *NET_INPUT, "--no-verify")
    assert (result.code, result.err) == (0, "")
    assert " unverified " in result.out and "checked  not checked: --no-verify" in result.out
    parity = load_artifact(Path("mvkit-out/net-make-fp32.tflite")).parity
    assert parity.verdict == "unverified"


def test_a_changed_network_needs_force(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    call = ("convert", "net.py:make", *TO_TFLITE, *NET_INPUT, "--no-verify")
    assert mvkit(*call).code == 0
    before = contents(workplace / "mvkit-out")
    assert "unchanged, nothing to do" in mvkit(*call).out
    source._user_module.cache_clear()
    Path("net.py").write_text(NET.replace("8, 7", "8, 9"))
    result = mvkit(*call)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith("mvkit-out/net-make-fp32.tflite was made from other weights")
    assert contents(workplace / "mvkit-out") == before
    assert mvkit(*call, "--force").code == 0
    (scores,) = load_artifact(Path("mvkit-out/net-make-fp32.tflite")).manifest.outputs
    assert scores.shape == (1, 9)


def test_a_damaged_file_under_the_name_needs_force(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    call = ("convert", "net.py:make", *TO_TFLITE, *NET_INPUT, "--no-verify")
    mvkit(*call)
    Path("mvkit-out/net-make-fp32.tflite.golden.npz").unlink()
    result = mvkit(*call)
    assert result.code == 2 and "exists but is not whole" in result.line
    assert mvkit(*call, "--force").code == 0


def test_brackets_in_a_path_are_no_markup(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    call = ("convert", *TO_TFLITE, *NET_INPUT, "--no-verify", "--output", "[bold]new[/x] :car:")
    for models in (["net.py:make"], ["net.py:make", "net.py:Net"]):
        result = mvkit(*call, *models)
        assert (result.code, result.err) == (0, "")
        assert result.out.count("[bold]new[/x] :car:/net-make-fp32.tflite") == 2


def test_what_a_users_code_prints_does_not_mix_with_the_result(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    Path("net.py").write_text("print('from the file')\n" + NET)
    result = mvkit("convert", "net.py:make", *TO_TFLITE, *NET_INPUT, "--no-verify", "--json")
    assert result.json[0]["status"] == "converted"
    assert result.err == "from the file\n"


def test_one_failing_network_does_not_stop_the_others(
    mvkit: Call, workplace: Path, quick_conversion: None
) -> None:
    call = ("convert", "net.py:zzz", "net.py:make", *TO_TFLITE, *NET_INPUT, "--no-verify")
    result = mvkit(*call)
    assert result.code == 2
    assert result.line == "net.py:zzz: net.py has no attribute 'zzz'"
    rows = [line.split() for line in result.out.splitlines()[2:4]]
    assert rows[0][:3] == ["net-zzz-fp32.tflite", "-", "error"]
    assert rows[1][0] == "mvkit-out/net-make-fp32.tflite"
    result = mvkit(*call, "--json")
    assert [one["status"] for one in result.json] == ["error", "unchanged"]
    assert result.json[0]["error"] == "net.py has no attribute 'zzz'"
    result = mvkit(*call, "--quiet")
    assert (result.code, result.out) == (2, "") and "no attribute" in result.line
    result = mvkit(*call, "--debug")
    assert "Traceback" in result.err and "in _attribute" in result.err


@pytest.mark.slow  # a real conversion
def test_a_faulty_file_is_kept_under_a_telling_name(
    mvkit: Call, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = tflite.save

    def save_another(form: Any, path: Path, recipe: Any) -> Route:
        with torch.no_grad():
            form.module.source.fc.bias[3] += 1e-3
        return save(form, path, recipe)

    monkeypatch.setattr(tflite, "save", save_another)
    call = ("convert", "net.py:make", *TO_TFLITE, *NET_INPUT)
    result = mvkit(*call)
    assert (result.code, result.err) == (1, "")
    assert "mvkit-out/net-make-fp32-FAILED.tflite" in result.out and " fail " in result.out
    assert "checked  relative error " in result.out
    assert names(Path("mvkit-out")) == [
        "net-make-fp32-FAILED.tflite",
        "net-make-fp32-FAILED.tflite.golden.npz",
        "net-make-fp32-FAILED.tflite.json",
    ]
    result = mvkit("verify", "mvkit-out/net-make-fp32-FAILED.tflite")
    assert result.code == 1 and " fail " in result.out


@pytest.mark.slow  # a real conversion
def test_names_types_and_nested_results(mvkit: Call, workplace: Path) -> None:
    """And a second time with --force, verbose: the vendor's own lines then go to standard error."""
    Path("words.py").write_text(
        "from torch import nn\n"
        "from layers import width\n"
        "class Words(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.table = nn.Embedding(11, width)\n"
        "    def forward(self, ids, scale):\n"
        "        words = self.table(ids) * scale\n"
        "        return {'words': words, 'more': (words.mean(1), words.sum((1, 2)))}\n"
    )
    Path("layers.py").write_text("width = 4\n")
    call = ("convert", "words.py:Words", *TO_TFLITE, "--json")
    call += ("--input", "scale=1", "--input", "ids=1x5:int64")
    result = mvkit(*call)
    assert (result.code, result.err) == (0, "")
    manifest = load_artifact(Path(result.json[0]["file"])).manifest
    assert [(one.name, one.shape, one.dtype) for one in manifest.inputs] == [
        ("scale", (1,), "float32"),
        ("ids", (1, 5), "int32"),
    ]
    assert [one.name for one in manifest.outputs] == ["words", "more_0", "more_1"]
    assert manifest.parity.verdict == "pass" and "no photo" in manifest.parity.reason
    again = mvkit(*call, "--force", "--verbose")
    assert again.json[0]["status"] == "converted"
    assert "LiteRT" in again.err


HOSTILE = "raise RuntimeError('this file must not be imported')\n"


@pytest.mark.slow  # three real conversions
def test_several_at_once_in_a_folder_full_of_traps(mvkit_process: Call, workplace: Path) -> None:
    """Neither the workers nor the runtime's process may import what lies where the command runs."""
    for name in ("numpy", "tflite", "random", "signal", "json", "torch", "jax", "click"):
        (workplace / f"{name}.py").write_text(HOSTILE)
    for name in ("converters", "mobilevit_kit", "ai_edge_litert"):
        (workplace / name).mkdir()
        (workplace / name / "__init__.py").write_text(HOSTILE)
    Path("tensorflow.py").write_text(NET)
    models = ("tensorflow.py:make", "net.py:zzz", "net.py:make")
    result = mvkit_process(
        "convert", *models, *TO_TFLITE, *NET_INPUT, "--jobs", "2", "--json", cwd=workplace
    )
    assert result.code == 2 and result.line == "net.py:zzz: net.py has no attribute 'zzz'"
    made = {one["model"]: one for one in result.json}
    assert list(made) == list(models)
    assert made["net.py:zzz"]["status"] == "error"
    for model in ("tensorflow.py:make", "net.py:make"):
        assert made[model]["verdict"] == "pass", made[model]["reason"]
        assert made[model]["host_latency_ms"] is None  # two at once: a time would mean nothing
    assert len(names(Path("mvkit-out"))) == 6
    result = mvkit_process("verify", made["net.py:make"]["file"], cwd=workplace)
    assert (result.code, result.err) == (0, "")
