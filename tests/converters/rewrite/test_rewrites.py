"""The table of rewrites, and how they are chosen and run."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from converters import rewrite as package
from converters.errors import UsageError
from converters.rewrite import REWRITES, Rewrite, parse_rewrites, rewrite
from converters.rewrite.network import Network
from converters.targets import TARGETS
from tests.converters.rewrite.graphs import captured, counts


@pytest.mark.parametrize("name", REWRITES)
def test_each_has_a_module_and_says_what_it_is(name: str) -> None:
    module = importlib.import_module(f"converters.rewrite.{name}")
    assert callable(module.apply) and module.__doc__
    about = REWRITES[name]
    assert about.summary and about.gain and "\n" not in about.summary + about.gain
    assert about.targets and set(about.targets) <= set(TARGETS)


def test_choosing() -> None:
    assert parse_rewrites("all") is None
    assert parse_rewrites("none") == ()
    assert parse_rewrites("depthwise_split,constants") == ("constants", "depthwise_split")
    for text in ("", "constants,", "Constants", "all,constants", "x" * 1000):
        with pytest.raises(UsageError, match=r"^unknown rewrite '[^']{0,40}'") as caught:
            parse_rewrites(text)
        assert caught.value.hint == "`mvkit rewrites` lists those that there are"


def test_they_run_in_order_for_the_targets_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def named(path: str) -> SimpleNamespace:
        name = path.rpartition(".")[2]

        def apply(network: Network) -> int:
            ran.append(name)
            return len(name) - 1

        return SimpleNamespace(apply=apply)

    table = {
        name: Rewrite("does", targets, "brings")
        for name, targets in (("abc", ("tflite",)), ("a", TARGETS), ("ab", TARGETS))
    }
    monkeypatch.setattr(package, "REWRITES", table)
    monkeypatch.setattr(package, "importlib", SimpleNamespace(import_module=named))
    network = Network(torch.fx.Graph(), {})
    assert rewrite(network, "tflite", table) == {"abc": 2, "ab": 1}  # where there was a place
    assert ran == ["abc", "a", "ab"]
    ran.clear()
    assert rewrite(network, "coreml", ("ab", "abc")) == {"ab": 1}
    assert ran == ["ab"]
    assert rewrite(network, "tflite", ()) == {}


def test_coreml_keeps_large_kernels() -> None:
    conv = nn.Conv2d(4, 4, 7, padding=3, groups=4)
    for target, convs in (("tflite", 3), ("executorch", 3), ("coreml", 1)):
        network = captured(conv, torch.randn(1, 4, 8, 8))
        rewrite(network, target)
        assert counts(network)["conv2d"] == convs
