"""PyTorch operators that coremltools lacks or gets wrong, spelled in others.

    addcmul(x, a, b, value) = x + value * (a * b)
    addcdiv(x, a, b, value) = x + value * (a / b)
    reciprocal(x) = 1 / x

coremltools 9.0 turns `reciprocal`, and with it `1 / x`, into the operator `inverse`, which adds
1e-4 to what it divides by (apple/coremltools#2773).
"""

from __future__ import annotations

from typing import Any


def register() -> None:
    """Makes coremltools' PyTorch frontend use these, for the rest of the process."""
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil import register_torch_op
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs, _get_kwinputs
    from coremltools.converters.mil.mil.ops.defs._utils import promote_input_dtypes

    def operands(context: Any, node: Any) -> Any:
        """x, a, b and value; a trace gives it by position, an export by name or not at all."""
        inputs = list(_get_inputs(context, node, expected=(3, 4)))
        if len(inputs) == 3:
            inputs += _get_kwinputs(context, node, "value", default=[1.0])
        return promote_input_dtypes(inputs)

    def addcmul(context: Any, node: Any) -> None:
        x, a, b, value = operands(context, node)
        product = mb.mul(x=value, y=mb.mul(x=a, y=b))
        context.add(mb.add(x=x, y=product, name=node.name))

    def addcdiv(context: Any, node: Any) -> None:
        x, a, b, value = operands(context, node)
        quotient = mb.mul(x=value, y=mb.real_div(x=a, y=b))
        context.add(mb.add(x=x, y=quotient, name=node.name))

    def reciprocal(context: Any, node: Any) -> None:
        one, x = promote_input_dtypes([1.0, _get_inputs(context, node, expected=1)[0]])
        context.add(mb.real_div(x=one, y=x, name=node.name))

    for operator in (addcmul, addcdiv, reciprocal):
        register_torch_op(operator, override=True)
