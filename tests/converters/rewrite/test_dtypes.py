"""Networks of other types than float32: the same function, and no value of another type."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx import Node

from converters.rewrite import REWRITES, rewrite
from tests.converters.rewrite.graphs import captured, same_function
from tests.networks import FAMILIES, tiny_family

DTYPES = (torch.float16, torch.bfloat16, torch.float64)


def floating(nodes: list[Node]) -> set[torch.dtype]:
    values = [node.meta["val"] for node in nodes if "val" in node.meta]
    return {value.dtype for value in values if value.is_floating_point()}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_keeps_its_type(family: str, dtype: torch.dtype) -> None:
    module: nn.Module = tiny_family(family).to(dtype)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    network = captured(module, image)
    before = network.evaluate(image)
    done = rewrite(network, "executorch", REWRITES)
    assert len(done) >= 4
    assert same_function(network, before, (image,))
    assert floating(list(network.graph.nodes)) == {dtype}
