"""Exact rewrites of a network's graph, one file each: the same function in a cheaper form.

A rewrite is an entry in `REWRITES` below, and a module of that name here that defines

    apply(network) -> int   rewrites all places where its conditions hold; how many there were

The module's docstring states the identity that it relies on, and the conditions. Rewrites run in
the order of the table, each on what those before it left. All of them are exact in real numbers;
weights are folded in double precision and rounded once.

What stands here is read without torch: `mvkit rewrites` prints it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from .network import Network


@dataclass(frozen=True)
class Rewrite:
    """What is said of a rewrite: what it does and brings in one line each, and who wants it."""

    summary: str
    targets: tuple[str, ...]
    gain: str  # as measured


XNNPACK_TARGETS = ("tflite", "executorch")

# By name, in the order in which they run.
REWRITES: dict[str, Rewrite] = {
    "constants": Rewrite(
        "computes what does not depend on the inputs once; merges constant factors and summands",
        XNNPACK_TARGETS,
        "tables, sines and masks stay out of the file; the rewrites after it find constants",
    ),
    "batch_norm": Rewrite(
        "folds batch norms into the convolution or linear layer before or behind them",
        XNNPACK_TARGETS,
        "mobilevit_xs 1.1 times faster, mobilenetv4_hybrid_medium 1.07; 210 operators fewer there",
    ),
    "residual_conv": Rewrite(
        "folds shortcuts and parallel branches into one convolution or linear layer",
        XNNPACK_TARGETS,
        "fastvit_t8 1.15 times faster on TFLite, repvit_m0_9 1.05; 110 and 118 operators fewer",
    ),
    "affine": Rewrite(
        "folds constant factors and summands, such as layer scale, into a layer's weights",
        XNNPACK_TARGETS,
        "mobilenetv4_hybrid_medium has 30 operators fewer, edgenext_xx_small 17",
    ),
    "attention": Rewrite(
        "spells scaled dot-product attention as product, softmax, product",
        XNNPACK_TARGETS,
        "ExecuTorch keeps attention in its delegate: 25 of mobilevit_xs's 56 ms were outside",
    ),
    "multi_query": Rewrite(
        "makes heads that share keys and values rows of one matrix product",
        XNNPACK_TARGETS,
        "a MobileNetV4 block's two products and softmax 1.15 to 1.37 times faster on TFLite",
    ),
    "split_projections": Rewrite(
        "makes a projection that is read in parts one for each part",
        XNNPACK_TARGETS,
        "attention 1 to 3% faster on TFLite, XCA 3 to 10%: no slices of the projection",
    ),
    "attention_scale": Rewrite(
        "puts the scale of attention into the weights of queries or keys",
        XNNPACK_TARGETS,
        "one product less for each attention; up to 3% of one on TFLite",
    ),
    "cancelled_bias": Rewrite(
        "drops the bias of keys, which a softmax cancels, and hands on that of values",
        XNNPACK_TARGETS,
        "a constant less for each; nothing that can be measured in time",
    ),
    "cross_covariance": Rewrite(
        "divides lengths out of the logits of attention between channels",
        XNNPACK_TARGETS,
        "ExecuTorch's own converter keeps XCA in one delegate; on TFLite as fast as before",
    ),
    "projected_attention": Rewrite(
        "puts the output projection of attention between channels into its attention matrix",
        XNNPACK_TARGETS,
        "XCA 1.05 to 1.12 times faster on TFLite with several times more positions than channels",
    ),
    "batched_matmul": Rewrite(
        "spells products of stacks of matrices as ExecuTorch's own converter wants them",
        ("executorch",),
        "ExecuTorch's own converter makes one delegate of attention in the place of three",
    ),
    "norm_affine": Rewrite(
        "folds a layer norm's weight and bias into the layers that read it",
        XNNPACK_TARGETS,
        "mobilevit_xs has 42 operators fewer, edgenext_xx_small 38",
    ),
    "centred": Rewrite(
        "centres a residual stream's producers once where only layer norms read it",
        XNNPACK_TARGETS,
        "mobilevit_xs has 42 operators fewer: a mean and a difference for each of 21 norms",
    ),
    "layer_norm": Rewrite(
        "spells layer norm with operators that XNNPACK has",
        XNNPACK_TARGETS,
        "one delegate: stock ExecuTorch leaves every layer norm outside",
    ),
    "mean_as_linear": Rewrite(
        "makes the mean over channels a linear layer with one row",
        ("executorch",),
        "one delegate: ExecuTorch's has no mean over channels; mobilevit_xs 21 sums fewer",
    ),
    "depthwise_split": Rewrite(
        "splits depthwise kernels beyond XNNPACK's fast sizes into dilated parts",
        XNNPACK_TARGETS,
        "edgenext_xx_small 1.35 times faster on TFLite, 1.46 on ExecuTorch; a 7x7 kernel 5 to 7",
    ),
}


def rewrites_named(names: Iterable[str]) -> tuple[str, ...]:
    """Names of rewrites in the order of running; raises UsageError for an unknown one."""
    names = tuple(names)
    for name in names:
        if name not in REWRITES:
            raise UsageError(
                f"unknown rewrite '{name[:40]}'", "`mvkit rewrites` lists those that there are"
            )
    return tuple(name for name in REWRITES if name in names)


def parse_rewrites(text: str) -> tuple[str, ...] | None:
    """Reads "none", "batch_norm,attention", or "all", which is None as in a `Recipe`."""
    if text == "all":
        return None
    return () if text == "none" else rewrites_named(text.split(","))


def rewrite(network: Network, target: str, names: Iterable[str] = REWRITES) -> dict[str, int]:
    """Applies those of the rewrites that the target wants; how often each of them found a place."""
    wanted = set(names)
    counts = {}
    for name, about in REWRITES.items():
        if name in wanted and target in about.targets:
            counts[name] = importlib.import_module(f"{__name__}.{name}").apply(network)
    return {name: count for name, count in counts.items() if count}
