"""Biases of keys that go, and of values that move on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from converters.rewrite import cancelled_bias
from tests.converters.rewrite.modules import SIZES, by_head
from tests.converters.rewrite.places import Outcome, outcome

B, N, H, D = 2, 6, 3, 4
aten = torch.ops.aten


class Attention(nn.Module):
    """Attention over tokens whose logits are `logits(q, k^T)`; what follows is `behind`."""

    def __init__(
        self,
        logits: Callable[[Tensor, Tensor], Tensor] = torch.matmul,
        behind: Callable[[Tensor], Tensor] = lambda y: y,
        axis: int = -1,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = (nn.Linear(7, H * D) for _ in range(3))
        self.proj = nn.Linear(H * D, 5)
        self.logits, self.behind, self.axis = logits, behind, axis

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).reshape(B, N, H, D).transpose(1, 2) for layer in (self.q, self.k, self.v)
        )
        weights = self.logits(q, k.transpose(-2, -1)).softmax(self.axis)
        y = self.behind(weights @ v)
        return self.proj(y.transpose(1, 2).reshape(B, N, H * D))


def dropped(module: nn.Module) -> Outcome:
    return outcome(cancelled_bias.apply, module, torch.randn(B, N, 7))


def biases(done: Outcome, *names: str) -> list[bool]:
    """Whether the layers with these weights still have a bias."""
    found = {}
    for node in done.network.calls(aten.linear.default, aten.conv2d.default):
        name = str(node.args[1].target).partition("_weight")[0]  # type: ignore[union-attr]
        found[name] = len(node.args) > 2 and node.args[2] is not None
    return [found[name] for name in names]


MASK = torch.randn(H, N, N, generator=torch.Generator().manual_seed(0))
OF_QUERY = MASK[:, :, :1]
LOGITS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "plain": torch.matmul,
    "scaled": lambda q, k: (q @ k) * 0.5,
    "masked": lambda q, k: 0.5 * (q @ k) + MASK.to(q.dtype),
    "a factor of queries": lambda q, k: (q @ k) * OF_QUERY,
    "a factor before them": lambda q, k: (OF_QUERY * (q @ k)) / 2.0,
    "window by window": lambda q, k: (
        ((q @ k).reshape(1, B, H, N, N) + MASK).reshape(B * H, N, N).reshape(B, H, N, N)
    ),
}


@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)
def test_key_bias_goes_and_value_bias_moves_on(
    logits: Callable[[Tensor, Tensor], Tensor],
) -> None:
    done = dropped(Attention(logits))
    assert done.is_same and done.places == 2 and done.change == {}
    assert biases(done, "q", "k", "v", "proj") == [True, False, False, True]


class Sized(nn.Module):
    """Attention of any size whose biases are `loud` times as large as a layer's own."""

    def __init__(self, heads: int, width: int, scale: float, loud: float, bias: bool) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(5, heads * width) for _ in range(3))
        self.proj = nn.Linear(heads * width, 3, bias=bias)
        self.heads, self.scale = heads, scale
        with torch.no_grad():
            for layer in (self.q, self.k, self.v):
                layer.bias.mul_(loud)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        q = by_head(self.q, x, self.heads)
        k, v = (by_head(layer, y, self.heads) for layer in (self.k, self.v))
        weights = (q @ k.transpose(-2, -1) * self.scale).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


@settings(deadline=None, max_examples=15)
@given(
    **SIZES,
    scale=st.sampled_from([1.0, 0.5, -2.0]),
    loud=st.sampled_from([0.1, 1.0, 20.0]),
    bias=st.booleans(),
)
def test_any_size(
    batch: int, heads: int, width: int, queries: int, keys: int, scale: float, loud: float,
    bias: bool,
) -> None:  # fmt: skip
    module = Sized(heads, width, scale, loud, bias)
    inputs = torch.randn(batch, queries, 5), torch.randn(batch, keys, 5)
    done = outcome(cancelled_bias.apply, module, *inputs)
    assert done.is_same and done.places == 2
    assert biases(done, "k", "v", "proj") == [False, False, True]


KEY_STAYS: dict[str, Attention] = {
    "a factor of keys": Attention(lambda q, k: (q @ k) * MASK[:, :1]),
    "a numerator": Attention(lambda q, k: 1.0 / (q @ k)),
    "not linear": Attention(lambda q, k: (q @ k).sigmoid()),
    "a factor that is no constant": Attention(lambda q, k: (q @ k) * q.sum(-1, keepdim=True)),
    "keys are normalised": Attention(lambda q, k: q @ F.normalize(k, dim=-2)),
    "softmax over queries": Attention(axis=-2),
}


@pytest.mark.parametrize("module", KEY_STAYS.values(), ids=KEY_STAYS)
def test_key_bias_stays(module: Attention) -> None:
    done = dropped(module)
    assert done.is_same and biases(done, "k") == [True]


def test_value_bias_stays_where_queries_are_summed_over() -> None:
    class Turned(Attention):
        def forward(self, x: Tensor) -> Tensor:
            weights = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)
            return self.proj(weights.transpose(1, 2) @ self.v(x))

    done = dropped(Turned())
    assert done.is_same and biases(done, "v") == [True]


def test_weights_may_have_other_readers() -> None:
    class Returned(Attention):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            weights = (self.q(x) @ self.k(x).transpose(1, 2)).softmax(-1)
            return self.proj(weights @ self.v(x)), weights

    done = dropped(Returned())
    assert done.is_same and done.places == 2


def test_value_bias_stays_before_what_is_not_linear() -> None:
    done = dropped(Attention(behind=F.hardswish))
    assert done.is_same and done.places == 1
    assert biases(done, "k", "v") == [False, True]


def test_value_bias_stays_where_others_read_the_result() -> None:
    done = dropped(Attention(behind=lambda y: y + y.mean(dim=2, keepdim=True)))
    assert done.is_same and biases(done, "v") == [True]


def test_value_bias_stays_where_rows_do_not_sum_to_one() -> None:
    done = dropped(Attention(axis=-2))
    assert done.is_same and done.places == 0


class Joint(nn.Module):
    """EfficientViT's attention: one convolution for all, values on the left of the product."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.qkv = nn.Conv2d(7, 3 * D, 1)
        self.proj = nn.Conv2d(D, 5, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).reshape(B, 7, 2, N // 2)
        q, k, v = (part.flatten(2) for part in self.qkv(x).chunk(3, dim=1))
        weights = (q.transpose(1, 2) @ k).softmax(-1)
        return self.proj((v @ weights.transpose(1, 2)).reshape(B, D, 2, N // 2))


def test_rows_of_a_joint_convolution() -> None:
    done = dropped(Joint())
    assert done.is_same and done.places == 2
    bias = next(one for one in done.network.calls(aten.conv2d.default)).args[2]
    value = done.network.value(bias)
    assert value is not None
    assert value[:D].all() and not value[D:].any()
    assert biases(done, "proj") == [True]


class BetweenChannels(nn.Module):
    """The keys are channels, each with a bias of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.proj = (nn.Linear(7, 7) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        weights = (self.q(x).transpose(1, 2) @ self.k(x)).softmax(-1)
        return self.proj((weights @ self.v(x).transpose(1, 2)).transpose(1, 2))


def test_attention_between_channels_keeps_its_biases() -> None:
    done = dropped(BetweenChannels())
    assert done.is_same and done.places == 0


def test_keys_that_others_read_keep_their_bias() -> None:
    done = dropped(Attention(lambda q, k: q @ k + k.sum(-2, keepdim=True)))
    assert done.is_same and biases(done, "k") == [True]


def test_logits_that_others_read_keep_their_bias() -> None:
    class Both(Attention):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            q, k = self.q(x), self.k(x).transpose(1, 2)
            logits = q @ k
            return logits.softmax(-1), logits

    done = dropped(Both())
    assert done.is_same and done.places == 0


def test_a_bias_that_is_forgotten_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelled_bias, "fold_behind", lambda *_: True)
    assert not dropped(Attention()).is_same


def test_a_bias_that_is_not_the_same_for_all_keys_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cancelled_bias._keeps_columns
    factors = (aten.mul.Tensor,)
    monkeypatch.setattr(
        cancelled_bias, "_keeps_columns", lambda n, node: node.target in factors or right(n, node)
    )
    assert not dropped(KEY_STAYS["a factor of keys"]).is_same
