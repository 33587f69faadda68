"""The families' tiny networks without rewrites, with each group of them alone, and each alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from converters import Artifact
from converters.recipe import Recipe
from converters.rewrite import REWRITES
from tests.networks import FAMILIES

pytestmark = pytest.mark.slow

GROUPS = {
    "weights": ("constants", "batch_norm", "residual_conv", "affine"),
    "attention": (
        "attention",
        "multi_query",
        "split_projections",
        "attention_scale",
        "cancelled_bias",
        "batched_matmul",
    ),
    "attention between channels": ("cross_covariance", "projected_attention"),
    "layer norm": ("norm_affine", "centred", "layer_norm", "mean_as_linear"),
    "depthwise": ("depthwise_split",),
}
# What each network gives to do, and how often, where a rewrite stands alone ...
ALONE = {
    "mobilevit": {
        "batch_norm": 29,
        "attention": 3,
        "split_projections": 3,
        "norm_affine": 9,
        "centred": 9,
        "layer_norm": 9,
    },
    "mobilenetv4": {"constants": 8, "batch_norm": 29, "affine": 2, "attention": 2},
    "efficientvit": {
        "residual_conv": 10,
        "split_projections": 6,
        "cancelled_bias": 6,
        "batched_matmul": 12,
    },
    "edgenext": {
        "constants": 7,
        "affine": 9,
        "split_projections": 3,
        "batched_matmul": 6,
        "cross_covariance": 2,
        "projected_attention": 2,
        "norm_affine": 13,
        "centred": 1,
        "layer_norm": 14,
        "depthwise_split": 1,
    },
}
# ... and where it has its group beside it.
TOGETHER = {
    ("mobilevit", "weights"): {"batch_norm": 29},
    ("mobilevit", "attention"): {
        "attention": 3,
        "split_projections": 3,
        "attention_scale": 3,
        "cancelled_bias": 6,
        "batched_matmul": 6,
    },
    # Centred and without weights, a norm is a mean of squares, which `layer_norm` leaves alone.
    ("mobilevit", "layer norm"): {"norm_affine": 9, "centred": 9, "mean_as_linear": 9},
    ("mobilenetv4", "weights"): {"constants": 8, "batch_norm": 29, "affine": 8},
    ("mobilenetv4", "attention"): {"attention": 2, "attention_scale": 2, "batched_matmul": 4},
    ("efficientvit", "weights"): {"residual_conv": 10},
    ("efficientvit", "attention"): {
        "split_projections": 6,
        "cancelled_bias": 6,
        "batched_matmul": 12,
    },
    ("edgenext", "weights"): {"constants": 7, "affine": 9},
    ("edgenext", "attention"): {"split_projections": 3, "batched_matmul": 6},
    ("edgenext", "attention between channels"): {"cross_covariance": 2, "projected_attention": 2},
    ("edgenext", "layer norm"): {
        "norm_affine": 13,
        "centred": 1,
        "layer_norm": 13,
        "mean_as_linear": 27,
    },
    ("edgenext", "depthwise"): {"depthwise_split": 1},
}
# Our Mobile MQA has its heads in the rows of one product to begin with; other people's is in
# tests/converters/rewrite/test_multi_query.py.
NOTHING_TO_DO = {"multi_query"}

XNNPACK = pytest.mark.parametrize("target", ["tflite", "executorch"])


def passes(artifact: Artifact, applied: dict[str, int]) -> None:
    """Asserts that a file passes on photos and random input, and what was rewritten in it."""
    parity, manifest = artifact.parity, artifact.manifest
    assert parity.verdict == "pass", parity.reason
    assert {case.kind for case in parity.cases} == {"photo", "random"}
    assert parity.relative_error is not None and parity.relative_error <= 1e-5
    wanted = {n: times for n, times in applied.items() if manifest.target in REWRITES[n].targets}
    assert manifest.rewrites == wanted


def test_every_rewrite_is_in_one_group() -> None:
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(REWRITES)


def test_every_rewrite_has_something_to_do() -> None:
    done = {name for applied in (*ALONE.values(), *TOGETHER.values()) for name in applied}
    assert done == REWRITES.keys() - NOTHING_TO_DO


@XNNPACK
@pytest.mark.parametrize("family", FAMILIES)
def test_passes_without_rewrites(
    family: str, target: str, converted: Callable[..., Artifact]
) -> None:
    passes(converted(family, Recipe(target, rewrites=())), {})


@XNNPACK
@pytest.mark.parametrize(("family", "group"), TOGETHER)
def test_passes_with_a_group_alone(
    family: str, group: str, target: str, converted: Callable[..., Artifact]
) -> None:
    recipe = Recipe(target, rewrites=GROUPS[group])
    passes(converted(family, recipe), TOGETHER[family, group])


@pytest.mark.parametrize(
    ("family", "name", "target"),
    [
        (family, name, target)
        for family, alone in ALONE.items()
        for name in alone
        for target in REWRITES[name].targets
    ],
)
def test_passes_with_one_alone(
    family: str, name: str, target: str, converted: Callable[..., Artifact]
) -> None:
    passes(converted(family, Recipe(target, rewrites=(name,))), {name: ALONE[family][name]})
