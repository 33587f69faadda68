"""LSTM, GRU and RNN beside torch's layers and beside loops in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converters.runtimes.mil import Evaluator
from converters.runtimes.mil.recurrent import gru, lstm, rnn
from converters.runtimes.mil.values import UnknownOperator
from tests.converters.runtimes.mil.programs import ct, mb, normal, save_program

S, B, N, H = 5, 2, 3, 4  # steps, batch, sizes of the input and of the hidden state
TRUE = torch.tensor(True)


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(normal(*shape, seed=seed)).double()


def ifoz(gates: torch.Tensor) -> torch.Tensor:
    """Gates in the operator's order, from torch's, which is i, f, z, o."""
    i, f, z, o = gates.chunk(4)
    return torch.cat((i, f, o, z))


def lstm_weights(layer: torch.nn.LSTM, suffix: str = "") -> dict[str, torch.Tensor]:
    back = "_back" if suffix else ""
    own = {name: ifoz(value) for name, value in layer.named_parameters()}
    return {
        f"weight_ih{back}": own[f"weight_ih_l0{suffix}"],
        f"weight_hh{back}": own[f"weight_hh_l0{suffix}"],
        f"bias{back}": own[f"bias_ih_l0{suffix}"] + own[f"bias_hh_l0{suffix}"],
    }


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@torch.no_grad()
def test_lstm_one_way(direction: str, whole: bool) -> None:
    layer = torch.nn.LSTM(N, H).double()
    x, h, c = tensor(S, B, N), tensor(1, B, H, seed=1), tensor(1, B, H, seed=2)
    wanted, (last_h, last_c) = layer(x.flip(0) if direction == "reverse" else x, (h, c))
    output, out_h, out_c = lstm(
        x, h[0], c[0], **lstm_weights(layer), direction=direction,
        output_sequence=torch.tensor(whole),
    )  # fmt: skip
    torch.testing.assert_close(output, wanted if whole else wanted[-1:])
    torch.testing.assert_close((out_h, out_c), (last_h[0], last_c[0]))


@pytest.mark.parametrize("whole", [True, False])
@torch.no_grad()
def test_lstm_both_ways(whole: bool) -> None:
    layer = torch.nn.LSTM(N, H, bidirectional=True).double()
    x, h, c = tensor(S, B, N), tensor(2, B, H, seed=1), tensor(2, B, H, seed=2)
    wanted, (last_h, last_c) = layer(x, (h, c))
    if not whole:
        wanted = torch.cat((wanted[-1:, :, :H], wanted[:1, :, H:]), -1)
    output, out_h, out_c = lstm(
        x, torch.cat((h[0], h[1]), -1), torch.cat((c[0], c[1]), -1),
        **lstm_weights(layer), **lstm_weights(layer, "_reverse"), direction="bidirectional",
        output_sequence=torch.tensor(whole),
    )  # fmt: skip
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(out_h, torch.cat((last_h[0], last_h[1]), -1))
    torch.testing.assert_close(out_c, torch.cat((last_c[0], last_c[1]), -1))


FUNCTIONS: dict[str, Any] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


@pytest.mark.parametrize("clip", [None, 0.3])
@pytest.mark.parametrize(
    ("gate", "cell", "out"),
    [
        ("sigmoid", "tanh", "relu"),
        ("hard_sigmoid", "linear", "scaled_tanh"),
        ("tanh", "relu", "sigmoid"),
    ],
)
def test_lstm_activations_peephole_and_clip(
    gate: str, cell: str, out: str, clip: float | None
) -> None:
    x, w, r = normal(S, B, N), normal(4 * H, N, seed=1), normal(4 * H, H, seed=2)
    b, p = normal(4 * H, seed=3), normal(3 * H, seed=4)
    h, c = np.zeros((B, H)), np.zeros((B, H))
    steps = []
    for step in x.astype(np.float64):
        i, f, o, z = np.split(step @ w.T + h @ r.T + b, 4, -1)
        p_i, p_f, p_o = np.split(p, 3)
        c = FUNCTIONS[gate](f + p_f * c) * c + FUNCTIONS[gate](i + p_i * c) * FUNCTIONS[cell](z)
        c = c if clip is None else np.clip(c, -clip, clip)
        h = FUNCTIONS[gate](o + p_o * c) * FUNCTIONS[out](c)
        steps.append(h)
    zeros = torch.zeros(B, H, dtype=torch.float64)
    output, _, out_c = lstm(
        tensor(S, B, N), zeros, zeros, tensor(4 * H, N, seed=1), tensor(4 * H, H, seed=2),
        bias=tensor(4 * H, seed=3), peephole=tensor(3 * H, seed=4), output_sequence=TRUE,
        recurrent_activation=gate, cell_activation=cell, activation=out,
        clip=None if clip is None else torch.tensor(clip, dtype=torch.float64),
    )  # fmt: skip
    np.testing.assert_allclose(output, np.stack(steps), rtol=1e-9)
    np.testing.assert_allclose(out_c, c, rtol=1e-9)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@torch.no_grad()
def test_rnn(activation: str, direction: str) -> None:
    layer = torch.nn.RNN(N, H, nonlinearity=activation).double()
    w, r, b_i, b_h = layer.parameters()
    x, h = tensor(S, B, N), tensor(1, B, H, seed=1)
    wanted, last = layer(x.flip(0) if direction == "reverse" else x, h)
    output, out_h = rnn(
        x, h[0], w, r, b_i + b_h, direction=direction, output_sequence=TRUE, activation=activation
    )
    torch.testing.assert_close((output, out_h), (wanted, last[0]))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize(("gate", "out"), [("sigmoid", "tanh"), ("tanh", "sigmoid")])
def test_gru(gate: str, out: str, direction: str) -> None:
    x, w, r = normal(S, B, N), normal(3 * H, N, seed=1), normal(3 * H, H, seed=2)
    b, h = normal(3 * H, seed=3), normal(B, H, seed=4).astype(np.float64)
    steps = []
    for step in (x[::-1] if direction == "reverse" else x).astype(np.float64):
        x_r, x_o, x_z = np.split(step @ w.T + b, 3, -1)
        r_r, r_o, r_z = np.split(r, 3)
        reset, update = FUNCTIONS[gate](x_r + h @ r_r.T), FUNCTIONS[gate](x_z + h @ r_z.T)
        new = FUNCTIONS[out](x_o + (reset * h) @ r_o.T)
        h = (1 - update) * new + update * h
        steps.append(h)
    arguments: dict[str, Any] = {
        "initial_h": tensor(B, H, seed=4), "weight_ih": tensor(3 * H, N, seed=1),
        "weight_hh": tensor(3 * H, H, seed=2), "direction": direction,
        "recurrent_activation": gate, "activation": out,
    }  # fmt: skip
    x_, b_ = tensor(S, B, N), tensor(3 * H, seed=3)
    output, out_h = gru(x_, bias=b_, output_sequence=TRUE, **arguments)
    np.testing.assert_allclose(output, np.stack(steps), rtol=1e-9)
    np.testing.assert_allclose(out_h, h, rtol=1e-9)
    halves = gru(x_, bias=b_ / 2, input_bias=b_ / 2, **arguments)
    np.testing.assert_allclose(halves[0], np.stack(steps[-1:]), rtol=1e-9)


def test_what_is_not_known() -> None:
    x, h = tensor(S, B, N), tensor(B, H)
    w, r = tensor(3 * H, N), tensor(3 * H, H)
    with pytest.raises(UnknownOperator, match="reset_after"):
        gru(x, h, w, r, reset_after=TRUE)
    with pytest.raises(UnknownOperator, match="direction sideways"):
        gru(x, h, w, r, direction="sideways")
    with pytest.raises(UnknownOperator, match="activation swish"):
        gru(x, h, w, r, activation="swish")
    with pytest.raises(ValueError, match="no weights for the way back"):
        both = torch.zeros(B, 2 * H, dtype=torch.float64)
        lstm(x, both, both, tensor(4 * H, N), tensor(4 * H, H), direction="bidirectional")


@torch.no_grad()
def test_from_a_package(tmp_path: Path) -> None:
    """As coremltools writes it: weights in the file, parameters as constants."""
    layer = torch.nn.LSTM(N, H)
    weights = {name: value.numpy() for name, value in lstm_weights(layer).items()}
    zeros = np.zeros((B, H), np.float32)
    path = save_program(
        lambda x: mb.lstm(x=x, initial_h=zeros, initial_c=zeros, **weights, output_sequence=True),
        {"x": ((S, B, N), "fp32")}, tmp_path / "lstm.mlpackage", ct.target.iOS17,
    )  # fmt: skip
    evaluator = Evaluator(path)
    wanted, (last_h, last_c) = layer(torch.from_numpy(normal(S, B, N)))
    got = evaluator.run({"x": normal(S, B, N)})
    for one, other in zip(got.values(), (wanted, last_h[0], last_c[0]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
