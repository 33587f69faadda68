"""Why XNNPACK leaves an operator of a .tflite file to the interpreter's own kernels.

From the delegate's README and its sources (LiteRT, `tflite/delegates/xnnpack`); every rule here is
also tried on the installed runtime by the tests.
"""

from __future__ import annotations

from .graph import Graph, Node

OPERATORS = frozenset({
    "ABS", "ADD", "ASSIGN_VARIABLE", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CEIL", "CONCATENATION",
    "CONV_2D", "COS", "DEPTH_TO_SPACE", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "DIV", "ELU", "EXP",
    "EXPAND_DIMS", "FLOOR", "FULLY_CONNECTED", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG",
    "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL", "NEG", "PAD", "PRELU",
    "QUANTIZE", "READ_VARIABLE", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RELU_N1_TO_1",
    "RESHAPE", "RESIZE_BILINEAR", "ROUND", "RSQRT", "SIN", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH",
    "SPLIT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "STABLEHLO_COMPOSITE", "STRIDED_SLICE", "SUB",
    "SUM", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "VAR_HANDLE",
})  # fmt: skip
_DTYPES = ("float32", "float16", "int8", "uint8")
_LARGEST_RANK = 6  # XNN_MAX_TENSOR_DIMS
# Operands that must be stored in the file, by position.
_WEIGHTS = {
    "CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (1, 3), "PRELU": (1,),
}  # fmt: skip
_PARAMETERS = {
    "MEAN": (1,), "SUM": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,), "PAD": (1,),
    "RESHAPE": (1,), "RESIZE_BILINEAR": (1,), "SLICE": (1, 2), "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3), "TRANSPOSE": (1,), "TRANSPOSE_CONV": (0,), "EXPAND_DIMS": (1,),
}  # fmt: skip
_MOST_JOINED = {"CONCATENATION": (2, 5), "SPLIT": (2, 4)}

_AS_BATCH_MATMUL = (
    "as BATCH_MATMUL the product stays inside: litert-torch makes FULLY_CONNECTED of a matmul "
    "whose batch is 1, the kit's own emitter (--emitter direct) does not"
)


def explain(graph: Graph, node: Node) -> tuple[str, str | None]:
    """Why the node is outside, and what would mend it, where that is known."""
    if node.operator not in OPERATORS:
        return "not among the operators that XNNPACK takes", None
    parameters = _PARAMETERS.get(node.operator, ())
    data = [tensor for i, tensor in enumerate(node.inputs) if i not in parameters]
    for tensor in (graph.tensors[index] for index in (*data, *node.outputs)):
        if tensor.dtype not in _DTYPES and not tensor.constant:
            return f"works on {tensor.dtype}; XNNPACK takes floating point and 8 bits", None
        if tensor.shape is not None and len(tensor.shape) > _LARGEST_RANK:
            return f"rank {len(tensor.shape)}; XNNPACK takes at most {_LARGEST_RANK}", None
    for position in _WEIGHTS.get(node.operator, ()):
        if position < len(node.inputs) and not graph.tensors[node.inputs[position]].constant:
            is_product = node.operator == "FULLY_CONNECTED" and position == 1
            reason = "its weights are computed; XNNPACK takes stored ones"
            return reason, _AS_BATCH_MATMUL if is_product else None
    for position in parameters:
        if position < len(node.inputs) and not graph.tensors[node.inputs[position]].constant:
            return (
                "dynamic: a shape, axis or size is computed while it runs",
                "a fixed input size lets the converter store it",
            )
    return _by_attributes(node)


def _by_attributes(node: Node) -> tuple[str, str | None]:
    activation = node.attributes.get("fusedActivationFunction", "NONE")
    if activation in ("TANH", "SIGN_BIT"):
        return f"the activation {activation} is fused into it", "as an operator of its own"
    if node.operator in _MOST_JOINED:
        least, most = _MOST_JOINED[node.operator]
        joined = node.inputs if node.operator == "CONCATENATION" else node.outputs
        if not least <= len(joined) <= most:
            return f"joins or parts {len(joined)} tensors; XNNPACK takes {least} to {most}", None
    if node.operator == "SOFTMAX" and float(node.attributes.get("beta", "1")) != 1:
        return "beta is not 1", "scale the operand before it"
    return "XNNPACK takes the operator, but not as it is used here; why is not known", None
