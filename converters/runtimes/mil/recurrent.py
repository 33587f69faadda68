"""Recurrent operators: `lstm`, `gru` and `rnn` over (S,B,I), S steps of a batch B.

Definitions follow the operator reference; where it is silent or contradicts itself, the NumPy
models with which coremltools' own tests are checked on a Mac: the order of the results of
`reverse` (as computed, last input first), what `clip` bounds (the cell state), the peephole of
the output gate (the new cell state), and what the reset gate of `gru` multiplies (the hidden
state, before its matrix).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .ops import operator
from .values import UnknownOperator

Activation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "scaled_tanh": torch.tanh,  # with its default scales, which are 1
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "relu": torch.relu,
    "linear": lambda x: x,
}


@operator("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor | None = None,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """Each step is h = activation(W x + R h + b).

    Gives all h (S,B,H), or without `output_sequence` the last (1,B,H), and the last (B,H).
    """
    act = _activation("rnn", activation)
    hidden = initial_h
    steps = []
    for inner in _projected(x, weight_ih, bias, _reversed("rnn", direction)):
        hidden = act(inner + hidden @ weight_hh.T)
        steps.append(hidden)
    return _sequence(steps, output_sequence), hidden


@operator("gru")
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor | None = None,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: Tensor | None = None,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights in the order reset, output, update; results as those of `rnn`.

    r, z = recurrent_activation(W x + b + R h), o = activation(W x + b + R (r h)), and
    h = (1 - z) o + z h.
    """
    if reset_after is not None and bool(reset_after):
        raise UnknownOperator("gru", "reset_after, on which CoreML and its reference disagree")
    gate, act = _activation("gru", recurrent_activation), _activation("gru", activation)
    weight_r, weight_o, weight_z = (matrix.T for matrix in weight_hh.chunk(3))
    total = input_bias if bias is None else bias if input_bias is None else bias + input_bias
    hidden = initial_h
    steps = []
    for inner in _projected(x, weight_ih, total, _reversed("gru", direction)):
        inner_r, inner_o, inner_z = inner.chunk(3, dim=-1)
        reset = gate(inner_r + hidden @ weight_r)
        update = gate(inner_z + hidden @ weight_z)
        output = act(inner_o + (reset * hidden) @ weight_o)
        hidden = (1 - update) * output + update * hidden
        steps.append(hidden)
    return _sequence(steps, output_sequence), hidden


@operator("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: Tensor | None = None,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights in the order input, forget, output, cell; all h or the last, then last h and c.

    With two directions the states are (B,2H), forward first, and both results of a step stand
    side by side at the time of its input.
    """
    activations = tuple(
        _activation("lstm", name) for name in (recurrent_activation, cell_activation, activation)
    )

    def one(
        backwards: bool, h: Tensor, c: Tensor, *weights: Tensor | None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        return _lstm_one_way(x, h, c, weights, activations, clip, backwards)

    if direction != "bidirectional":
        backwards = _reversed("lstm", direction)
        steps, h, c = one(backwards, initial_h, initial_c, weight_ih, weight_hh, bias, peephole)
        return _sequence(steps, output_sequence), h, c
    (h_there, h_back), (c_there, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    there, h_there, c_there = one(False, h_there, c_there, weight_ih, weight_hh, bias, peephole)
    back, h_back, c_back = one(
        True, h_back, c_back, weight_ih_back, weight_hh_back, bias_back, peephole_back
    )
    if output_sequence is not None and bool(output_sequence):
        back = back[::-1]
    both = [torch.cat(pair, -1) for pair in zip(there, back, strict=True)]
    sequence = _sequence(both, output_sequence)
    return sequence, torch.cat((h_there, h_back), -1), torch.cat((c_there, c_back), -1)


def _lstm_one_way(
    x: Tensor,
    hidden: Tensor,
    cell: Tensor,
    weights: tuple[Tensor | None, ...],
    activations: tuple[Activation, ...],
    clip: Tensor | None,
    backwards: bool,
) -> tuple[list[Tensor], Tensor, Tensor]:
    weight_ih, weight_hh, bias, peephole = weights
    if weight_ih is None or weight_hh is None:
        raise ValueError("no weights for the way back")
    gate, cell_act, act = activations
    peep_i, peep_f, peep_o = (0.0,) * 3 if peephole is None else peephole.chunk(3)
    bound = None if clip is None else float(clip)
    steps = []
    for inner in _projected(x, weight_ih, bias, backwards):
        i, f, o, z = (inner + hidden @ weight_hh.T).chunk(4, dim=-1)
        cell = gate(f + peep_f * cell) * cell + gate(i + peep_i * cell) * cell_act(z)
        if bound is not None:
            cell = cell.clamp(-bound, bound)
        hidden = gate(o + peep_o * cell) * act(cell)
        steps.append(hidden)
    return steps, hidden, cell


def _projected(
    x: Tensor, weight: Tensor, bias: Tensor | None, backwards: bool
) -> tuple[Tensor, ...]:
    """W x + b of each step in the order in which they are computed."""
    if x.dim() != 3 or not len(x):
        raise ValueError(f"a sequence {list(x.shape)}")
    projected = torch.nn.functional.linear(x, weight, bias)
    return (projected.flip(0) if backwards else projected).unbind(0)


def _sequence(steps: list[Tensor], wanted: Tensor | None) -> Tensor:
    return torch.stack(steps if wanted is not None and bool(wanted) else steps[-1:])


def _reversed(operator_: str, direction: str) -> bool:
    if direction not in ("forward", "reverse"):
        raise UnknownOperator(operator_, f"direction {direction}")
    return direction == "reverse"


def _activation(operator_: str, name: str) -> Activation:
    if name not in _ACTIVATIONS:
        raise UnknownOperator(operator_, f"activation {name}")
    return _ACTIVATIONS[name]
