"""Why ExecuTorch's XNNPACK partitioner leaves an operator to the portable kernels.

From the partitioner's own conditions (executorch 1.5.1, `backends/xnnpack/partition/config`); what
mends it was measured on the networks of this kit. Where a rewrite of `mvkit convert` does it, the
rewrite is named; the direct emitter then leaves nothing outside.
"""

from __future__ import annotations

from ..formats.xnnpack import BACKEND
from .graph import Graph, Node

__all__ = ["BACKEND", "explain"]

_ATTENTION = (
    "XNNPACK's partitioner takes no such operator; the safe softmax of "
    "scaled_dot_product_attention is made of it",
    "attention written out as matmul, softmax and matmul stays inside (the rewrite attention)",
)
_SHAPES = (
    "XNNPACK's partitioner takes no such change of shape",
    "3-D matrix products, separate projections and slices stay inside (the rewrites "
    "split_projections and batched_matmul, and the direct emitter's shapes)",
)
_KNOWN: dict[str, tuple[str, str | None]] = {
    "native_layer_norm": (
        "XNNPACK's partitioner takes no layer normalisation",
        "means as 1x1 linear layers with weights 1/C, square, rsqrt and multiply stay inside (the "
        "rewrites layer_norm and mean_as_linear)",
    ),
    "mean": (
        "a mean is taken over the last two axes of (B,C,H,W) only, and with the axes kept",
        "mean((2, 3), keepdim=True) and a reshape; over channels, a 1x1 linear layer with "
        "weights 1/C (the rewrite mean_as_linear)",
    ),
    "mul.Scalar_out": (
        "multiplies by a number; XNNPACK's partitioner takes two tensors",
        "fold the factor into the weights before it (the rewrites affine and attention_scale)",
    ),
    **dict.fromkeys(("eq", "logical_not", "any", "full_like", "where"), _ATTENTION),
    **dict.fromkeys(
        ("expand_copy", "squeeze_copy", "split_copy", "split_with_sizes_copy", "select_copy"),
        _SHAPES,
    ),
}


def explain(graph: Graph, node: Node) -> tuple[str, str | None]:
    """Why the node is outside, and what would mend it, where that is known."""
    if node.inputs and all(graph.tensors[index].constant for index in node.inputs):
        return "reads constants only", "compute its result before the export, as a buffer"
    name = node.operator.removeprefix("aten::")
    known = _KNOWN.get(name) or _KNOWN.get(name.partition(".")[0])
    if known is not None:
        return known
    for index in (*node.inputs, *node.outputs):
        dtype = graph.tensors[index].dtype
        if not graph.tensors[index].constant and not dtype.startswith("float"):
            return f"works on {dtype}; XNNPACK's partitioner takes floating point", None
    return "not taken by XNNPACK's partitioner; why is not known", None
