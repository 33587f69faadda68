"""A network of a user's own, and a module as `compare` and `bisect` take it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.artifact import GoldenCase
from converters.bisection.source_trace import INPUT, trace_source
from converters.bisection.taps import FileOperator, FileTrace
from converters.deploy import Interface, plan_interface, reference_outputs
from converters.loud import loud_weights_
from converters.recipe import Recipe


class Plain(nn.Module):
    """Half modules, half functional calls: (B, 3, H, W) -> (B, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.mix = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.last = nn.Linear(12, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.first(image))
        x = F.hardswish(self.norm(self.second(x)))
        tokens = x.flatten(2).transpose(1, 2)  # (B, HW/4, 12)
        tokens = tokens + self.mix(tokens)
        return self.last((tokens * torch.sigmoid(tokens)).mean(1))


PLAIN_IMAGE = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def plain() -> Plain:
    module = Plain()
    loud_weights_(module, 0, (PLAIN_IMAGE,))
    return module.eval()


def interface_for(module: nn.Module, inputs: Any) -> Interface:
    return plan_interface(
        module,
        inputs,
        recipe=Recipe("tflite"),
        layout="nchw",
        preprocessing=None,
        embed_preprocessing=False,
        file_dtypes={},
    )


def case_for(module: nn.Module, interface: Interface, *tensors: Tensor) -> GoldenCase:
    names = [one.spec.name for one in interface.inputs]
    arrays = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    (case,) = reference_outputs(module, interface, {("random", "0"): arrays}, {})
    return case


def file_of(module: nn.Module, image: Tensor) -> FileTrace:
    """What a file would show that computes what `module` does, maps with their channels last."""
    trace = trace_source(module, [image], {})
    shown: set[int] = set()  # not what is computed from weights alone
    for value in trace.values:
        if value.operator == INPUT or shown.intersection(value.reads):
            shown.add(value.index)
    computed = [trace.values[i] for i in sorted(shown) if trace.values[i].operator != INPUT]
    arrays = {str(i): trace.values[i].array for i in shown}
    return FileTrace(
        runtime="torch",
        operators=tuple(
            FileOperator(
                value.operator,
                tuple(str(i) for i in value.reads if i in shown),
                (str(value.index),),
            )
            for value in computed
        ),
        values={k: a.transpose(0, 2, 3, 1) if a.ndim == 4 else a for k, a in arrays.items()},
        names={},
        inputs={"image": "0"},
        outputs={"output": str(trace.value_of(trace.result))},
    )
