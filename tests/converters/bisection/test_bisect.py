"""Single faults, and the block and operator that are found for them.

Here torch plays the file: what a faulty copy of the network computes, operator by operator, is
compared with the sound network. `test_saved_files.py` does the same with files.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.bisection.bisect import Bisection, compare
from tests.converters.bisection.comparing import (
    PLAIN_IMAGE,
    Plain,
    case_for,
    file_of,
    interface_for,
    plain,
)

Fault = Callable[[Plain], None]


def compared(file: nn.Module, source: nn.Module) -> Bisection:
    interface = interface_for(source, PLAIN_IMAGE)
    case = case_for(source, interface, PLAIN_IMAGE)
    return compare(file_of(file, PLAIN_IMAGE), source, interface, case, precision="fp32")


def with_forward(forward: Callable[[Plain, Tensor], Tensor]) -> Fault:
    def put(module: Plain) -> None:
        module.forward = lambda image: forward(module, image)  # type: ignore[method-assign]

    return put


@torch.no_grad()
def one_filter(module: Plain) -> None:
    module.second.weight[3] *= 1.3


def other_epsilon(module: Plain) -> None:
    module.norm.eps = 1e-3


def other_activation(module: Plain) -> None:
    module.mix[1] = nn.SiLU()


@torch.no_grad()
def no_bias(module: Plain) -> None:
    module.last.bias.zero_()


def padding_at_one_side(module: Plain) -> None:
    module.first.padding = (0, 0)
    module.first.register_forward_pre_hook(lambda _, args: F.pad(args[0], (0, 2, 0, 2)))


def other_functional_activation(module: Plain, image: Tensor) -> Tensor:
    x = F.silu(module.norm(module.second(torch.relu(module.first(image)))))
    tokens = x.flatten(2).transpose(1, 2)
    tokens = tokens + module.mix(tokens)
    return module.last((tokens * torch.sigmoid(tokens)).mean(1))


def no_shortcut(module: Plain, image: Tensor) -> Tensor:
    x = F.hardswish(module.norm(module.second(torch.relu(module.first(image)))))
    tokens = module.mix(x.flatten(2).transpose(1, 2))
    return module.last((tokens * torch.sigmoid(tokens)).mean(1))


def one_thing_more(module: Plain, image: Tensor) -> Tensor:
    x = F.hardswish(module.norm(module.second(torch.relu(module.first(image)))))
    tokens = x.flatten(2).transpose(1, 2)
    tokens = tokens + torch.tanh(module.mix(tokens))
    return module.last((tokens * torch.sigmoid(tokens)).mean(1))


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "a filter": (one_filter, "second", "convolution"),
    "epsilon": (other_epsilon, "norm", "native_batch_norm"),
    "an activation": (other_activation, "mix.1", "silu"),
    "no bias": (no_bias, "last", "addmm"),
    "padding": (padding_at_one_side, "first", "constant_pad_nd"),
    "a functional activation": (with_forward(other_functional_activation), "", "silu"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str) -> None:
    put, block, operator = FAULTS[fault]
    file = plain()
    put(file)
    found = compared(file, plain())
    assert found.status == "located" and found.fault is not None
    assert found.fault.block == block
    assert found.fault.operator.kind == operator
    assert not found.fault.is_missing


def test_a_sound_file_has_no_fault() -> None:
    found = compared(plain(), plain())
    assert found.status == "sound" and found.fault is None
    assert [row.module for row in found.growth] == [
        "first", "second", "norm", "mix.0", "mix.1", "mix", "",
    ]  # fmt: skip
    assert not any(row.diverges for row in found.growth)


def test_the_error_is_followed_beyond_the_fault() -> None:
    file = plain()
    one_filter(file)
    rows = {row.module: row for row in compared(file, plain()).growth}
    assert list(rows) == ["first", "second", "norm", "mix.0", "mix.1", "mix", ""]
    assert [path for path, row in rows.items() if not row.diverges] == ["first"]
    assert rows["second"].relative_error > 100 * rows["second"].rounding
    assert rows["norm"].kind == "BatchNorm2d"


def test_what_a_file_leaves_out_is_said_to_be_missing() -> None:
    file = plain()
    with_forward(no_shortcut)(file)
    fault = compared(file, plain()).fault
    assert fault is not None and fault.is_missing
    assert fault.stands_for == "add" and fault.operator.kind == "sigmoid"


def test_what_a_file_adds_is_the_operator() -> None:
    file = plain()
    with_forward(one_thing_more)(file)
    fault = compared(file, plain()).fault
    assert fault is not None and not fault.is_missing
    assert (fault.block, fault.operator.kind) == ("mix.2", "tanh")


def test_of_two_faults_the_first_is_found() -> None:
    file = plain()
    one_filter(file)
    no_bias(file)
    found = compared(file, plain())
    assert found.fault is not None
    assert (found.fault.block, found.fault.operator.kind) == ("second", "convolution")


@torch.no_grad()
def test_values_that_are_not_finite_are_traced_back() -> None:
    file = plain()
    file.mix[2].weight[0, 0] = torch.nan
    fault = compared(file, plain()).fault
    assert fault is not None
    assert (fault.block, fault.operator.kind) == ("mix.2", "addmm")


def test_an_error_that_rounding_explains_has_no_place() -> None:
    class Cancelling(nn.Module):
        def __init__(self, large: float) -> None:
            super().__init__()
            self.large = large

        def forward(self, image: Tensor) -> Tensor:
            return ((image + self.large) - self.large).flatten(1)

    found = compared(Cancelling(1024.0 - 2**-13), Cancelling(1024.0))
    assert found.status == "rounding" and found.fault is None
    assert found.errors["output"] > 1e-5
