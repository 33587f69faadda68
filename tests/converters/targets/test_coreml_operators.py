"""Operators that are spelled in others, beside PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from converters.recipe import Recipe
from converters.runtimes.mil import Evaluator
from tests.converters.targets.forms import save_module
from tests.converters.targets.test_coreml import Calls

pytestmark = pytest.mark.slow

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "addcmul": lambda x, a, b: torch.addcmul(x, a, b),
    "addcmul with a factor": lambda x, a, b: torch.addcmul(x, a, b, value=-0.3),
    "addcmul, broadcast": lambda x, a, b: torch.addcmul(x, a[:1], b[:, :1], value=2),
    "addcmul in place": lambda x, a, b: (x * 1.5).addcmul_(a, b),
    "addcdiv with a factor": lambda x, a, b: torch.addcdiv(x, a, b, value=0.7),
    "reciprocal": lambda x, a, b: torch.reciprocal(b),
    "one over": lambda x, a, b: x + 3 / b,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_computes_what_pytorch_does(name: str, tmp_path: Path) -> None:
    function: Any = FUNCTIONS[name]
    g = torch.Generator().manual_seed(0)
    x, a = torch.randn(2, 3, generator=g), torch.randn(2, 3, generator=g)
    b = torch.tensor([[1e-4, -1e-4, 3e-3], [1.0, -7.0, 1e-2]])
    file = tmp_path / "n.mlpackage"
    save_module(Calls(function), (x, a, b), file, Recipe("coreml"), input_names=["x", "a", "b"])
    (actual,) = Evaluator(file).run({"x": x.numpy(), "a": a.numpy(), "b": b.numpy()}).values()
    np.testing.assert_allclose(actual, function(x, a, b).numpy(), rtol=1e-5)
