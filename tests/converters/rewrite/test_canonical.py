"""Each spelling of PyTorch's becomes the canonical one, and computes the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from converters.rewrite.canonical import canonicalise
from tests.converters.rewrite.graphs import captured, counts, relative_error
from tests.converters.rewrite.modules import Function

VIEWS = {"reshape", "permute", "expand", "slice", "cat", "constant_pad_nd"}


def check(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """How often the module's network calls each operator, after it computed what the module does.

    A second time there is nothing to do.
    """
    network = captured(module, *inputs)
    used = counts(network)
    with torch.no_grad():
        expected = module.double()(*(x.double() if x.is_floating_point() else x for x in inputs))
    assert relative_error(network.evaluate(*inputs), [expected]) < 1e-12
    canonicalise(network)
    assert counts(network) == used
    return used


X = torch.randn(2, 6, 4, 8, generator=torch.Generator().manual_seed(1))

MOVING: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda x: x.view(2, -1),
    "flatten": lambda x: x.flatten(2),
    "ravel": lambda x: x.ravel() * 2,
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "squeeze of two": lambda x: x[:1, :1].squeeze((0, 1)),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "unflatten": lambda x: x.unflatten(1, (2, -1)),
    "transpose": lambda x: x.transpose(-1, 1),
    "swapaxes": lambda x: x.swapaxes(0, 2),
    "mT": lambda x: x.mT,
    "T": lambda x: x[0, 0].T,
    "t": lambda x: x[0, 0].t(),
    "movedim": lambda x: x.movedim(1, -1),
    "movedim back": lambda x: x.movedim(-1, 1),
    "movedim of two": lambda x: x.movedim((1, 3), (2, 0)),
    "moveaxis": lambda x: x.moveaxis(0, 2),
    "permute of a permutation": lambda x: x.permute(0, 2, 3, 1).permute(2, 0, 1, 3),
    "select": lambda x: x[:, -2],
    "narrow": lambda x: x.narrow(1, 2, 3),
    "narrow from the end": lambda x: x.narrow(1, -3, 2),
    "slice with a step": lambda x: x[:, 1::2],
    "slice beyond the end": lambda x: x[:, -2:99],
    "split": lambda x: x.split(4, 1)[1],
    "split with sizes": lambda x: torch.cat(x.split([1, 2, 3], 1)[::-1], 1),
    "chunk": lambda x: x.chunk(3, 1)[-1],
    "tensor_split": lambda x: x.tensor_split(4, 1)[2],
    "tensor_split at": lambda x: x.tensor_split([2, 3], 1)[2],
    "unbind": lambda x: x.unbind(1)[-1],
    "stack": lambda x: torch.stack([x, 2 * x], -1),
    "stack of one": lambda x: torch.stack([x], 1),
    "roll": lambda x: x.roll((1, -3), (2, 3)),
    "flip": lambda x: x[:, :3].flip(1),
    "flip of two": lambda x: x[:, :3].flip((1, -2)),
    "repeat": lambda x: x.repeat(2, 1, 3, 1, 2),
    "repeat of nothing": lambda x: x.repeat(1, 1, 1, 1),
    "tile": lambda x: x.tile(2, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(3, 1),
    "repeat_interleave of all": lambda x: x.repeat_interleave(2),
    "expand": lambda x: x[:, :1].expand(-1, 5, -1, -1),
    "expand_as": lambda x: x[:1].expand_as(x) + 1,
    "broadcast_to": lambda x: x[:, :1].broadcast_to(3, 2, 4, 4, 8),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x[:, :4], 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "unfold": lambda x: F.unfold(x, (2, 4), stride=(2, 4)),
    "fold": lambda x: F.fold(x.reshape(2, 24, 8), (4, 8), 2, stride=2),
    "channel_shuffle": lambda x: F.channel_shuffle(x, 3),
    "nearest": lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    "nearest to a size": lambda x: F.interpolate(x, (8, 8), mode="nearest"),
    "nearest-exact": lambda x: F.interpolate(x, scale_factor=3, mode="nearest-exact"),
    "pad": lambda x: F.pad(x, (1, 2, 0, 3)),
    "pad with a number": lambda x: F.pad(x, (1, 0), value=2.5),
    "pad by nothing": lambda x: F.pad(x, (0, 0)) * 2,
    "cat of one": lambda x: torch.cat([x]) * 2,
    "cat with nothing": lambda x: torch.cat([x[:, :0], x, x[:, 2:2]], 1),
    "dropout": lambda x: F.dropout2d(F.dropout(x, training=False), training=False) * 2,
    "a write into a part": lambda x: _written(x),
}  # fmt: skip


def _written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1] = 3 * y[:, 2]
    y[:, 2:4, 1:] += 1
    return y


@pytest.mark.parametrize("name", MOVING)
def test_data_is_moved(name: str) -> None:
    used = check(Function(MOVING[name]), X)
    assert set(used) <= VIEWS | {"mul", "add"}


ARITHMETIC: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, int]]] = {
    "number first": (lambda x: 3 * x, {"mul": 1}),
    "number minus": (lambda x: 1 - x, {"sub": 1}),
    "number divided": (lambda x: 2 / (x * x + 1), {"pow": 1, "add": 1, "div": 1, "mul": 1}),
    "rsub with alpha": (lambda x: torch.rsub(x, 5, alpha=3), {"mul": 1, "sub": 1}),
    "rsub of tensors": (lambda x: torch.rsub(x, x * 2, alpha=3), {"mul": 2, "sub": 1}),
    "add with alpha": (lambda x: torch.add(x, x * 2, alpha=-3), {"mul": 2, "add": 1}),
    "subtract": (lambda x: torch.subtract(x, 2, alpha=3), {"sub": 1}),
    "multiply": (lambda x: torch.multiply(x, x + 1), {"add": 1, "mul": 1}),
    "true_divide": (lambda x: torch.true_divide(x, 3), {"div": 1}),
    "expanded operand": (lambda x: x * x[:, :1].expand(-1, 6, -1, -1), {"slice": 1, "mul": 1}),
    "both expanded": (
        lambda x: x[:, :1].expand(-1, 6, -1, -1) + x[:, 1:2].expand(-1, 6, -1, -1),
        {"slice": 2, "expand": 1, "add": 1},
    ),
    "addcmul": (lambda x: torch.addcmul(x, x, x, value=0.5), {"pow": 1, "mul": 1, "add": 1}),
    "addcdiv": (lambda x: torch.addcdiv(x, x, x.abs() + 1), {"abs": 1, "add": 2, "div": 1}),
    "square": (lambda x: x.square(), {"pow": 1}),
    "product with itself": (lambda x: x * x, {"pow": 1}),
    "cube": (lambda x: x**3, {"pow": 1, "mul": 1}),
    "fourth power": (lambda x: x**4, {"pow": 2}),
    "first power": (lambda x: x**1 + 1, {"add": 1}),
    "root": (lambda x: (x.square() + 1) ** 0.5, {"pow": 1, "add": 1, "sqrt": 1}),
    "inverse root": (lambda x: (x.square() + 1) ** -0.5, {"pow": 1, "add": 1, "rsqrt": 1}),
    "relu6": (lambda x: F.relu6(x * 9), {"mul": 1, "clamp": 1}),
    "hardtanh": (lambda x: F.hardtanh(x, -0.5, 0.25), {"clamp": 1}),
    "clamp_min": (lambda x: x.clamp_min(0.5), {"clamp": 1}),
    "clamp_max": (lambda x: x.clamp_max(0.5), {"clamp": 1}),
    "clamp at zero": (lambda x: x.clamp(min=0), {"relu": 1}),
    "clamp by tensors": (
        lambda x: torch.clamp(x, -x[:1].square(), x[:1].square()),
        {"slice": 2, "pow": 2, "neg": 1, "maximum": 1, "minimum": 1},
    ),
    "glu": (lambda x: F.glu(x, 1), {"slice": 2, "sigmoid": 1, "mul": 1}),
    "in place": (
        lambda x: (x + 1).relu_().mul_(2).sub_(x),
        {"add": 1, "relu": 1, "mul": 1, "sub": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name: str) -> None:
    function, expected = ARITHMETIC[name]
    assert check(Function(function), X) == expected


def test_a_slope_for_each_channel_or_for_all() -> None:
    for channels, moved in ((6, {"reshape": 1}), (1, {})):
        module = Function(F.prelu, slope=torch.rand(channels))
        assert check(module, X) == {"relu": 1, "clamp": 1, "mul": 1, "add": 1, **moved}


REDUCING: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, int]]] = {
    "mean of all": (lambda x: x.mean(), {"mean": 1, "reshape": 1}),
    "mean from the end": (lambda x: x.mean((-1, 2)), {"mean": 1, "reshape": 1}),
    "mean that keeps": (lambda x: x.mean((3, 2), keepdim=True), {"mean": 1}),
    "sum of all": (lambda x: x.sum(), {"sum": 1, "reshape": 1}),
    "sum": (lambda x: x.sum(1, keepdim=True), {"sum": 1}),
    "norm": (lambda x: x.norm(dim=1), {"pow": 1, "sum": 1, "sqrt": 1, "reshape": 1}),
    "vector norm": (
        lambda x: torch.linalg.vector_norm(x, dim=(1, 3), keepdim=True),
        {"pow": 1, "sum": 1, "sqrt": 1},
    ),
    "normalize": (
        lambda x: F.normalize(x, dim=-1),
        {"pow": 1, "sum": 1, "sqrt": 1, "clamp": 1, "div": 1},
    ),
    "variance": (
        lambda x: x.var(1, keepdim=True),
        {"mean": 2, "sub": 1, "pow": 1, "mul": 1},
    ),
    "variance, biased": (
        lambda x: x.var((1, 2), unbiased=False),
        {"mean": 2, "sub": 1, "pow": 1, "reshape": 1},
    ),
    "variance, corrected": (
        lambda x: torch.var(x, 1, correction=2, keepdim=True),
        {"mean": 2, "sub": 1, "pow": 1, "mul": 1},
    ),
    "variance of all": (lambda x: x.var(), {"mean": 2, "sub": 1, "pow": 1, "mul": 1, "reshape": 1}),
    "deviation": (
        lambda x: torch.std(x, 1, correction=0),
        {"mean": 2, "sub": 1, "pow": 1, "sqrt": 1, "reshape": 1},
    ),
    "softmax": (lambda x: x.softmax(-2), {"softmax": 1}),
    "largest of few": (lambda x: x.amax(2), {"slice": 4, "maximum": 3, "reshape": 1}),
    "largest of few, by max": (lambda x: x.max(2)[0], {"slice": 4, "maximum": 3, "reshape": 1}),
    "least of many, by min": (lambda x: x.flatten(1).min(1, True)[0], {"reshape": 1, "amin": 1}),
    "least of few": (lambda x: x.amin(2, keepdim=True), {"slice": 4, "minimum": 3}),
}


@pytest.mark.parametrize("name", REDUCING)
def test_reductions(name: str) -> None:
    function, expected = REDUCING[name]
    assert check(Function(function), X) == expected


def test_windows_that_overlap_stay() -> None:
    assert check(Function(lambda x: F.unfold(x, 3, padding=1)), X) == {"im2col": 1}
    assert check(Function(lambda x: F.fold(x[:, :, 0], (4, 5), (3, 2))), X)["col2im"] == 1


def test_places_of_extremes_stay() -> None:
    network = captured(Function(lambda x: x.max(2)), X)
    assert len(network.calls(torch.ops.aten.max.dim)) == 1


def test_an_extreme_of_many_stays() -> None:
    assert check(Function(lambda x: x.flatten(2).amax(-1)), X) == {"reshape": 1, "amax": 1}


def test_axes_count_from_the_front() -> None:
    network = captured(Function(lambda x: x.softmax(-1).mean(-2).unbind(-1)[0]), X)
    (softmax,) = network.calls(torch.ops.aten.softmax.int)
    (mean,) = network.calls(torch.ops.aten.mean.dim)
    (part,) = network.calls(torch.ops.aten.slice.Tensor)
    assert (softmax.args[1:], mean.args[1:], part.args[1:]) == ((3,), ([2], True), (2, 0, 1))


@settings(max_examples=25, deadline=None)
@given(
    count=st.sampled_from([1, 2]), kernel=st.integers(1, 4), stride=st.integers(1, 3),
    dilation=st.integers(1, 2), padding=st.sampled_from([0, 1, 2, "same", "valid"]),
    depthwise=st.booleans(), bias=st.booleans(), batched=st.booleans(),
)  # fmt: skip
def test_convolutions(
    count: int, kernel: int, stride: int, dilation: int, padding: int | str, depthwise: bool,
    bias: bool, batched: bool,
) -> None:  # fmt: skip
    make = nn.Conv2d if count == 2 else nn.Conv1d
    module = make(
        4, 8, kernel, 1 if padding == "same" else stride, padding, dilation,
        groups=4 if depthwise else 1, bias=bias,
    )  # fmt: skip
    x = torch.randn(4, *[11, 9][:count])
    network = captured(module, x[None] if batched else x)
    (conv,) = network.calls(torch.ops.aten.conv2d.default)
    assert len(conv.args) == 7 and all(len(conv.args[i]) == 2 for i in (3, 4, 5))  # type: ignore[arg-type]
    assert network.value(conv.args[1]) is not None
    check(module, x[None] if batched else x)


def test_a_transposed_convolution_stays() -> None:
    assert check(nn.ConvTranspose2d(6, 4, 2, 2), X) == {"conv_transpose2d": 1}


def test_products_of_matrices() -> None:
    a, b = torch.randn(2, 3, 4), torch.randn(2, 4, 5)
    assert check(Function(torch.bmm), a, b) == {"matmul": 1}
    assert check(Function(torch.mm), a[0], b[0]) == {"matmul": 1}
    assert check(Function(torch.mv), a[0], b[0, :, 0]) == {"reshape": 2, "matmul": 1}
    assert check(Function(torch.matmul), a[0, 0], b) == {"reshape": 2, "matmul": 1}
    assert check(Function(torch.matmul), a, b[0]) == {"matmul": 1}
    c = torch.randn(2, 3, 5)
    assert check(Function(torch.baddbmm), c, a, b) == {"matmul": 1, "add": 1}
    module = Function(lambda c, a, b: torch.addmm(c, a, b, alpha=3, beta=2))
    assert check(module, c[0], a[0], b[0]) == {"matmul": 1, "mul": 2, "add": 1}


def test_a_product_by_a_constant_matrix_is_a_linear_layer() -> None:
    a, matrix, bias = torch.randn(2, 3, 4), torch.randn(4, 5), torch.randn(5)
    assert check(Function(torch.matmul, m=matrix), a) == {"linear": 1}
    assert check(Function(lambda x, m: x @ m.t(), m=matrix.t().contiguous()), a) == {"linear": 1}
    module = Function(lambda x, m, b: torch.addmm(b, x, m), m=matrix, b=bias)
    network = captured(module, a[0])
    assert [len(node.args) for node in network.calls(torch.ops.aten.linear.default)] == [3]
    check(module, a[0])
    # The layer adds numbers of one row, not of one column, and none that are scaled.
    column = Function(lambda x, m, b: torch.addmm(b, x, m), m=matrix, b=torch.randn(3, 1))
    assert check(column, a[0]) == {"linear": 1, "add": 1}
    scaled = Function(lambda x, m, b: torch.addmm(b, x, m, beta=2), m=matrix, b=bias)
    assert check(scaled, a[0]) == {"linear": 1, "mul": 1, "add": 1}
    assert check(nn.Linear(4, 2, bias=False), a) == {"linear": 1}


@pytest.mark.parametrize("equation", ["bnd,bmd->bnm", "bhnd,hdm->bnhm", "bchw,cd->bdhw", "ij,ij->"])
def test_einsum(equation: str) -> None:
    sides = dict(zip("bcdhijmnw", (2, 3, 4, 5, 6, 7, 3, 2, 4), strict=True))
    tensors = [
        torch.randn(*[sides[axis] for axis in part])
        for part in equation.partition("->")[0].split(",")
    ]
    used = check(Function(lambda *x: torch.einsum(equation, *x)), *tensors)
    assert used["matmul"] == 1 and set(used) <= VIEWS | {"matmul"}


def with_loud_numbers(module: nn.Module) -> nn.Module:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2) if "var" in name else nn.init.normal_(tensor)
    return module.eval()


def test_norms_over_groups_of_channels() -> None:
    parts = {"layer_norm": 1, "mul": 1, "add": 1}
    assert check(with_loud_numbers(nn.GroupNorm(1, 6)), X) == parts
    assert check(with_loud_numbers(nn.GroupNorm(3, 6)), X) == {**parts, "reshape": 2}
    assert check(with_loud_numbers(nn.GroupNorm(2, 6)), X.flatten(2)) == {**parts, "reshape": 2}
    assert check(nn.GroupNorm(1, 6, affine=False), X) == {"layer_norm": 1}
    norm = with_loud_numbers(nn.InstanceNorm2d(6, affine=True))
    assert check(norm, X) == {**parts, "reshape": 2}
    tracked = with_loud_numbers(nn.InstanceNorm2d(6, track_running_stats=True))
    assert check(tracked, X) == {"batch_norm": 1}


def test_layer_and_batch_norms() -> None:
    assert check(with_loud_numbers(nn.LayerNorm((4, 8), eps=1e-3)), X) == {"layer_norm": 1}
    assert check(nn.LayerNorm(8, elementwise_affine=False), X) == {"layer_norm": 1}
    assert check(with_loud_numbers(nn.BatchNorm2d(6)), X) == {"batch_norm": 1}
    used = check(with_loud_numbers(nn.RMSNorm(8, eps=1e-5)), X)
    assert used == {"pow": 1, "mean": 1, "add": 1, "rsqrt": 1, "mul": 2}


def test_pools_and_resizing() -> None:
    assert check(nn.AdaptiveAvgPool2d(1), X) == {"mean": 1}
    assert check(nn.AdaptiveAvgPool2d((2, 4)), X) == {"avg_pool2d": 1}
    assert check(nn.AdaptiveAvgPool2d(3), X) == {"adaptive_avg_pool2d": 1}
    assert check(nn.AdaptiveAvgPool1d(1), X.flatten(2)) == {"mean": 1}
    assert check(nn.MaxPool2d(2), X) == {"max_pool2d": 1}
    assert check(nn.MaxPool1d(3, 2, 1), X.flatten(2)) == {"reshape": 2, "max_pool2d": 1}
    assert check(nn.AvgPool1d(3, ceil_mode=True), X.flatten(2)) == {"reshape": 2, "avg_pool2d": 1}
    resize = Function(lambda x: F.interpolate(x, (4, 8), mode="bilinear") * 2)
    assert check(resize, X) == {"mul": 1}
    resize = Function(lambda x: F.interpolate(x, (6, 7), mode="bilinear", align_corners=True))
    assert check(resize, X) == {"upsample_bilinear2d": 1}


def test_nearest_by_a_broken_factor_stays() -> None:
    for size in ((6, 8), None):
        factor = None if size else (2.1, 1.0)  # 2.1 of 4 gives 8, from other places than 2 does
        module = Function(lambda x, s=size, f=factor: F.interpolate(x, s, f))
        assert check(module, X) == {"upsample_nearest2d": 1}


def test_casts() -> None:
    assert check(Function(lambda x: x.to(torch.float32).type_as(x) * 2), X) == {"mul": 1}
    ids = torch.arange(6).reshape(2, 3)
    for cast in (lambda i: i.float() / 3, lambda i: i.to("cpu", torch.float32) / 3):
        network = captured(Function(cast), ids)
        assert counts(network) == {"to": 1, "div": 1}
        assert relative_error(network.evaluate(ids), [ids.double() / 3]) < 1e-15
    bytes_ = ids.to(torch.uint8)
    network = captured(Function(lambda i, w: i.to(w.dtype) * w, w=torch.tensor(2.0)), bytes_)
    assert network.calls(torch.ops.aten.to.dtype)[0].args[1] is torch.float32


def test_the_functional_graph_of_a_retraced_program_is_canonical_too() -> None:
    """Native norms give several results there."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.Sequential(nn.BatchNorm2d(6), nn.GroupNorm(2, 6))
            self.last = nn.LayerNorm(8)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norms(x)
            y[:, 0] = 0.5  # which makes it be traced again
            return self.last(F.max_pool2d(y, 3, 1, 1))

    used = check(with_loud_numbers(Net()), X)
    assert (used["batch_norm"], used["layer_norm"], used["max_pool2d"]) == (1, 2, 1)
    assert "getitem" not in used
