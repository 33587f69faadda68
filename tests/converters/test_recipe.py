"""What a file is to be: written to a manifest and read again, refused where a target has it not."""

from __future__ import annotations

import dataclasses
import json

import pytest

from converters.errors import UsageError
from converters.recipe import Recipe
from converters.targets import TARGETS, complete, for_targets, parse_targets, target_named

CHANGED = Recipe(
    "coreml",
    precision="fp16",
    backend="coreml",
    minimum_deployment_target="iOS18",
    input_kind="image",
    sizes=((192, 320), (64, 64)),
    dynamic_batch=4,
    rewrites=("constants", "depthwise_split"),
    emitter="direct",
    author="a",
    licence="b",
    version="c",
    description="d",
)


def test_a_manifest_holds_a_recipe() -> None:
    default = Recipe("coreml")
    for field in dataclasses.fields(Recipe)[1:]:
        assert getattr(CHANGED, field.name) != getattr(default, field.name), field.name
    for recipe in (default, CHANGED):
        stored = json.loads(json.dumps({**recipe.options(), "layout": "nchw"}))
        assert Recipe.from_options("coreml", recipe.precision, stored) == recipe


def test_a_manifest_without_options_is_of_the_default() -> None:
    assert Recipe.from_options("tflite", "fp32", {"seed": 0}) == Recipe("tflite")


def test_names_of_files() -> None:
    assert Recipe("tflite").stem("net") == "net-fp32"
    assert Recipe("coreml", precision="fp16").stem("net") == "net-fp16"
    assert Recipe("executorch", backend="xnnpack").stem("net") == "net-fp32"
    assert Recipe("executorch", backend="portable").stem("net") == "net-fp32-portable"


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_refuses_what_it_has_not(target: str) -> None:
    known = set(target_named(target).OPTIONS)
    assert known <= {field.name for field in dataclasses.fields(Recipe)}
    for field in dataclasses.fields(Recipe)[1:]:
        recipe = Recipe(target, **{field.name: getattr(CHANGED, field.name)})
        if field.name not in known:
            with pytest.raises(UsageError, match=rf"^--\S+( \S+)? is not for {target}$"):
                complete(recipe)


def test_defaults() -> None:
    assert complete(Recipe("tflite")) == Recipe("tflite")
    assert complete(Recipe("coreml")).minimum_deployment_target == "iOS16"
    assert complete(Recipe("executorch")).backend == "xnnpack"


def test_rewrites_are_named_in_the_order_in_which_they_run() -> None:
    wish = Recipe("tflite", rewrites=("depthwise_split", "constants", "constants"))
    assert complete(wish).rewrites == ("constants", "depthwise_split")
    assert complete(Recipe("tflite", rewrites=())).rewrites == ()
    with pytest.raises(UsageError, match="unknown rewrite 'fold'; `mvkit rewrites` lists"):
        complete(Recipe("tflite", rewrites=("constants", "fold")))


def test_each_target_has_its_own_emitters() -> None:
    for target, vendor in (("tflite", "litert"), ("executorch", "executorch")):
        for emitter in ("auto", "direct", vendor):
            assert complete(Recipe(target, emitter=emitter)).emitter == emitter  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^--emitter litert is not for executorch$"):
        complete(Recipe("executorch", emitter="litert"))
    with pytest.raises(UsageError, match=r"^--emitter executorch is not for tflite$"):
        complete(Recipe("tflite", emitter="executorch"))


def test_only_xnnpack_is_written_directly() -> None:
    for backend in ("portable", "coreml"):
        assert complete(Recipe("executorch", backend=backend, rewrites=())).rewrites == ()
        with pytest.raises(UsageError, match=f"^--emitter direct is not for backend {backend}$"):
            complete(Recipe("executorch", backend=backend, emitter="direct"))
        with pytest.raises(UsageError, match=f"^--rewrites is not for backend {backend}$"):
            complete(Recipe("executorch", backend=backend, rewrites=("constants",)))


def test_several_targets_take_each_what_they_know() -> None:
    wish = Recipe("", minimum_deployment_target="iOS17", backend="portable", dynamic_batch=8)
    tflite, coreml, executorch = for_targets(TARGETS, wish)
    assert tflite == Recipe("tflite", dynamic_batch=8)
    assert (coreml.minimum_deployment_target, coreml.backend) == ("iOS17", None)
    assert (executorch.minimum_deployment_target, executorch.backend) == (None, "portable")
    with pytest.raises(UsageError, match="--backend is not for tflite or coreml"):
        for_targets(("tflite", "coreml"), wish)


def test_names_of_targets() -> None:
    assert parse_targets("all") == TARGETS
    assert parse_targets("coreml,tflite,coreml") == ("coreml", "tflite")
    for text in ("coreml,tflight", "", "tflite,"):
        with pytest.raises(UsageError, match="unknown target"):
            parse_targets(text)
