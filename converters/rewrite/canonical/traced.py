"""What PyTorch itself composes of other operators, replaced by those."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node, map_arg
from torch.fx.experimental.proxy_tensor import make_fx

from ..network import Network

aten = torch.ops.aten

_COMPOSED = (aten.einsum.default,)


def spell_out(network: Network) -> None:
    """Replaces each call of these operators by the calls that it makes."""
    for node in network.calls(*_COMPOSED):
        operands = node.all_input_nodes
        traced = make_fx(_function(node))(*(operand.meta["val"] for operand in operands))
        copies: dict[Node, Any] = {}
        waiting = iter(operands)
        for one in traced.graph.nodes:
            if one.op == "placeholder":
                copies[one] = next(waiting)
            elif one.op == "call_function":
                args = map_arg(one.args, copies.__getitem__)
                kwargs = map_arg(one.kwargs, copies.__getitem__)
                copies[one] = network.call(one.target, *args, at=node, **kwargs)
        result: Any = traced.graph.output_node().args[0]
        network.replace(node, copies[result])


def _function(node: Node) -> Callable[..., Tensor]:
    """The call as a function of the tensors that it reads."""
    target: Any = node.target

    def called(*tensors: Tensor) -> Tensor:
        values = dict(zip(node.all_input_nodes, tensors, strict=True))
        args = map_arg(node.args, values.__getitem__)
        return target(*args, **map_arg(node.kwargs, values.__getitem__))

    return called
