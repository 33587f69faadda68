"""`mvkit convert` and `verify` for several targets, and for the options of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters import load_artifact
from converters.route import Route
from converters.targets import TARGETS, coreml, executorch, tflite
from mobilevit_kit import jobs
from tests.mobilevit_kit.commands import NET_INPUT, NET_RECIPE, Call, contents

NET_TO = ("convert", "net.py:make", *NET_INPUT, "--target")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All targets write a file at once; the list says which were asked."""
    asked: list[str] = []
    for target in (tflite, coreml, executorch):

        def save(form: object, path: Path, recipe: object, target: object = target) -> Route:
            asked.append(path.name)
            path.write_bytes(b"a file of some target")
            return Route("direct")

        monkeypatch.setattr(target, "save", save)
    return asked


def test_all_targets_share_one_network(
    mvkit: Call, workplace: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    build = jobs.build_source
    monkeypatch.setattr(jobs, "build_source", lambda r: (built.append(r), build(r))[1])
    result = mvkit(*NET_TO, "all", "--no-verify", "--json")
    assert result.code == 0
    assert [one["target"] for one in result.json] == list(TARGETS)
    assert quick == ["net-make-fp32.tflite", "net-make-fp32.mlpackage", "net-make-fp32.pte"]
    assert len(built) == 1
    outputs = [load_artifact(Path(one["file"])).golden()[0].outputs for one in result.json]
    assert all((outputs[0]["output"] == each["output"]).all() for each in outputs)


def test_each_target_has_its_own_types(mvkit: Call, workplace: Path, quick: list[str]) -> None:
    """What the targets share is the source's result, not what a format makes of it."""
    Path("net.py").write_text(
        "import torch\n\n\nclass Top(torch.nn.Module):\n"
        "    def forward(self, image):\n        return image.flatten(1).argmax(1)\n"
    )
    result = mvkit("convert", "net.py:Top", *NET_INPUT, "--target", "all", "--no-verify", "--json")
    dtypes = [load_artifact(Path(one["file"])).manifest.outputs[0].dtype for one in result.json]
    assert dtypes == ["int32", "int32", "int64"]


def test_some_targets_in_the_order_given(mvkit: Call, workplace: Path, quick: list[str]) -> None:
    result = mvkit(*NET_TO, "executorch,tflite", "--no-verify", "--backend", "portable")
    assert (result.code, result.err) == (0, "")
    assert quick == ["net-make-fp32-portable.pte", "net-make-fp32.tflite"]
    assert result.out.index("portable.pte") < result.out.index("fp32.tflite")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["tflight"], "unknown target 'tflight'; did you mean tflite?"),
        (["tflite,"], "unknown target ''; known: tflite, coreml, executorch, all"),
        (["tflite", "--precision", "fp16"], "--precision fp16 is not for tflite"),
        (["tflite,executorch", "--sizes", "64x64"], "--sizes is not for tflite or executorch"),
        (["coreml", "--backend", "xnnpack"], "--backend is not for coreml"),
        (["coreml", "--sizes", "64y64"], "Invalid value for '--sizes': '64y64' is not a size"),
        (["coreml", "--sizes", "64x64", "--dynamic-batch"], "a CoreML input has either a list of"),
        (
            ["coreml", "--minimum-deployment-target", "iOS15"],
            "Invalid value for '--minimum-deployment-target': 'iOS15' is not one of",
        ),
        (
            ["tflite", "--rewrites", "constants,fold"],
            "unknown rewrite 'fold'; `mvkit rewrites` lists",
        ),
        (["tflite", "--rewrites", ""], "unknown rewrite ''; `mvkit rewrites` lists"),
        (["all", "--rewrites", "all,none"], "unknown rewrite 'all'; `mvkit rewrites` lists"),
        (["coreml", "--emitter", "direct"], "--emitter is not for coreml"),
        (["tflite,executorch", "--emitter", "litert"], "--emitter litert is not for executorch"),
        (["coreml", "--input-kind", "image"], "embedding the preprocessing needs to know it"),
    ],
)
def test_what_is_refused_leaves_nothing(
    args: list[str], line: str, mvkit: Call, workplace: Path
) -> None:
    before = contents(workplace)
    result = mvkit(*NET_TO, *args)
    assert result.code == 2 and line in result.line
    assert contents(workplace) == before


def test_an_error_of_one_target_names_it(
    mvkit: Call, workplace: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise executorch.ConversionError("no such operator")

    monkeypatch.setattr(executorch, "save", refuse)
    result = mvkit(*NET_TO, "all", "--no-verify")
    assert result.code == 1
    assert result.line == "executorch: net.py:make: no such operator"
    assert quick == ["net-make-fp32.tflite", "net-make-fp32.mlpackage"]


@pytest.mark.slow  # real conversions
def test_an_image_package_of_half_precision(mvkit: Call, workplace: Path) -> None:
    call = (*NET_TO, "coreml", "--precision", "fp16", "--input-kind", "image", *NET_RECIPE)
    result = mvkit(*call)
    assert (result.code, result.err) == (0, "")
    half, single = (Path(f"mvkit-out/net-make-{p}.mlpackage") for p in ("fp16", "fp32"))
    manifest = load_artifact(half).manifest
    assert manifest.twin is not None and manifest.twin.name == single.name
    assert manifest.inputs[0].kind == "image" and manifest.inputs[0].dtype == "uint8"
    assert manifest.host_latency is None  # nothing here runs it as a phone would
    assert load_artifact(single).parity.verdict == "pass"

    result = mvkit("verify", half, single)
    assert result.code == 0
    assert "its fp32 twin rounded, operator by operator" in result.out
    assert mvkit("verify", half, "--against-source").code == 0
    result = mvkit("verify", half, "--runtime", "coreml")
    assert result.code == 1
    assert " unverified " in result.out and "macOS only" in result.out
    # Without its twin nothing is known of what rounding hides.
    for path in single.parent.glob("net-make-fp32.*"):
        path.rename(workplace / path.name)
    result = mvkit("verify", half)
    assert result.code == 1
    assert " unverified " in result.out and "its fp32 twin is not beside it" in result.out
