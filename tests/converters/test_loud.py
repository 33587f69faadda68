"""Loud weights: reproducible, and such that activations neither fade nor grow."""

from __future__ import annotations

import torch
from torch import nn

from converters.loud import loud_weights_
from tests.networks import TINY_MOBILEVIT, tiny_mobilevit


def test_weights_depend_on_names_and_seed_alone() -> None:
    one, two = (nn.ModuleDict({"a": nn.Linear(4, 5), "b": nn.Conv2d(3, 2, 3)}) for _ in "12")
    three = nn.ModuleDict({"b": nn.Conv2d(3, 2, 3), "a": nn.Linear(4, 5)})
    states = [loud_weights_(net, 1).state_dict() for net in (one, two, three)]
    for name, expected in states[0].items():
        assert torch.equal(expected, states[1][name]) and torch.equal(expected, states[2][name])
    other = loud_weights_(two, 2).state_dict()
    assert not any(torch.equal(states[0][name], other[name]) for name in other)


def test_nothing_is_left_at_its_initial_value() -> None:
    from mobilevit_kit.models.mobilevit import MobileVit

    fresh = MobileVit(TINY_MOBILEVIT).state_dict()
    loud = loud_weights_(MobileVit(TINY_MOBILEVIT)).state_dict()
    counters = {name for name in fresh if name.endswith("num_batches_tracked")}
    kept = {name for name in fresh if torch.equal(fresh[name], loud[name])}
    assert kept == counters


def test_scales_start_near_one_and_tables_get_values_of_their_own() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gamma = nn.Parameter(torch.full((64,), 1e-5))
            self.bias_table = nn.Parameter(torch.zeros(4, 64))

    net = loud_weights_(Scaled())
    assert net.gamma.min() >= 0.7 and net.gamma.max() <= 1.3 and net.gamma.std() > 0.1
    assert 0.3 < net.bias_table.std() < 0.7


def test_statistics_match_the_example_layer_by_layer() -> None:
    model = tiny_mobilevit()
    spreads = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda norm, args, out, name=name: spreads.update({name: out.std().item()})
            )
    model.eval()(torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)))
    assert len(spreads) == 29
    assert all(0.1 < spread < 3 for spread in spreads.values()), spreads


def test_mode_is_kept() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    loud_weights_(net, 0, (torch.rand(2, 3, 8, 8),))
    assert net.training and net[1].num_batches_tracked == 0
