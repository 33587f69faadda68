"""From an ATen graph in its canonical form to a `Program`."""

from __future__ import annotations

from collections.abc import Sequence

from ..rewrite.network import Network
from . import operators  # noqa: F401  they fill the table of rules
from .fusion import fuse_activations, fuse_padding, without_dead_ends
from .program import Program
from .rules import Lowering


def lower(network: Network, input_names: Sequence[str], output_names: Sequence[str]) -> Program:
    """The network as a program, whose inputs and outputs lie as the network's do.

    Raises NotCovered, with the first reason.
    """
    lowering = Lowering(network)
    for node, name in zip(network.inputs, input_names, strict=True):
        lowering.give(node, name)
    for node in network.calls():
        lowering.step(node)
    build = lowering.build
    build.module = ""
    outputs = {
        name: lowering.result(node)
        for name, node in zip(output_names, network.outputs, strict=True)
    }
    return without_dead_ends(fuse_padding(fuse_activations(build.program(outputs))))
