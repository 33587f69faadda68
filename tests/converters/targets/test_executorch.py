"""The ExecuTorch target: what it saves, what it refuses, and where it leaves the stock route."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from converters import Artifact
from converters.errors import ConversionError, MissingExtraError, UsageError
from converters.formats.pte import read_pte
from converters.recipe import Recipe
from converters.runtimes.base import SessionRequest
from converters.runtimes.executorch import open_session
from converters.targets import complete, executorch
from tests.converters.handmade import assert_one_line
from tests.converters.targets.forms import make_form, save_module

slow = pytest.mark.slow
TINY = ["classifier", "classifier-nhwc", "classifier-uint8-nchw", "mixed", "mobilevit"]


def test_options() -> None:
    assert complete(Recipe("executorch")).backend == "xnnpack"
    for backend in executorch.BACKENDS:
        assert complete(Recipe("executorch", backend=backend)).backend == backend
    with pytest.raises(UsageError, match="unknown backend 'vulkan'; known: xnnpack") as caught:
        complete(Recipe("executorch", backend="vulkan"))
    assert_one_line(caught.value)
    with pytest.raises(UsageError, match="--precision fp16 is not for executorch"):
        complete(Recipe("executorch", precision="fp16"))
    with pytest.raises(UsageError, match="--dynamic-batch is not for backend coreml"):
        complete(Recipe("executorch", backend="coreml", dynamic_batch=4))


@pytest.mark.parametrize("package", ["torch", "executorch"])
def test_what_is_not_installed(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*\[executorch\]"):
        executorch.require()


@slow
@pytest.mark.parametrize("backend", ["xnnpack", "portable"])
@pytest.mark.parametrize("name", TINY)
def test_tiny_networks_pass(name: str, backend: str, converted: Callable[..., Artifact]) -> None:
    artifact = converted(name, Recipe("executorch", backend=backend))
    parity, graph = artifact.parity, artifact.manifest.graph
    assert parity.verdict == "pass" and parity.relative_error is not None, parity.reason
    assert parity.relative_error <= 1e-5
    assert graph is not None and graph.partitions is not None
    assert graph.delegate == ("XnnpackBackend" if backend == "xnnpack" else None)
    assert (graph.partitions > 0) == (backend == "xnnpack")
    assert graph.outside or backend == "xnnpack"
    assert graph.planned_memory


@slow
def test_integers_keep_their_type(converted: Callable[..., Artifact]) -> None:
    artifact = converted("mixed", Recipe("executorch", backend="portable"))
    types = {
        spec.name: spec.dtype for spec in (*artifact.manifest.inputs, *artifact.manifest.outputs)
    }
    assert types["ids"] == types["both_1"] == "int64"


class Gelus(nn.Module):
    """Both kinds, on x (B, 8)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.gelu(x), F.gelu(x, approximate="tanh")


def run(file: Path, *inputs: Tensor, outputs: int) -> list[Any]:
    names = [str(i) for i in range(len(inputs))], [str(i) for i in range(outputs)]
    session = open_session(SessionRequest(str(file), 1, *names))
    results = session.run({n: x.numpy() for n, x in zip(names[0], inputs, strict=True)})
    return list(results.values())


@slow
def test_each_gelu_is_of_its_own_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vendor's converter computes the exact one for both."""
    x = torch.linspace(-4, 4, 64).reshape(8, 8)
    wanted = [y.numpy() for y in Gelus()(x)]
    assert np.abs(wanted[0] - wanted[1]).max() > 4e-4
    vendors = Recipe("executorch", rewrites=(), emitter="executorch")
    for i, recipe in enumerate((Recipe("executorch"), vendors)):
        file = save_module(Gelus(), x, tmp_path / f"{i}.pte", recipe)
        for one, other in zip(run(file, x, outputs=2), wanted, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=2e-6)
    monkeypatch.setattr(executorch, "_with_tanh_gelu_spelled_out", lambda exported: exported)
    file = save_module(Gelus(), x, tmp_path / "stock.pte", vendors)
    stock = run(file, x, outputs=2)
    np.testing.assert_allclose(stock[1], wanted[0], rtol=0, atol=2e-6)


class Bring(nn.Module):
    """Several inputs, one of them a single number; results nested, one given back, one constant."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.arange(3.0))

    def forward(self, a: Tensor, ids: Tensor, scale: Tensor) -> dict[str, Any]:
        return {"a": a, "sum": (a * scale + self.table, ids.sum(-1)), "table": self.table}


@slow
@pytest.mark.parametrize("backend", ["xnnpack", "portable"])
def test_what_users_bring(backend: str, tmp_path: Path) -> None:
    inputs = torch.randn(2, 3), torch.tensor([[1, 2], [3, 4]]), torch.tensor(1.5)
    file = save_module(Bring(), inputs, tmp_path / "a.pte", Recipe("executorch", backend=backend))
    result = Bring()(*inputs)
    wanted = result["a"], *result["sum"], result["table"]
    for one, other in zip(run(file, *inputs, outputs=4), wanted, strict=True):
        assert (one.dtype, one.shape) == (other.numpy().dtype, tuple(other.shape))
        np.testing.assert_allclose(one, other, rtol=1e-6)


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


@slow
@pytest.mark.parametrize("backend", ["xnnpack", "portable"])
def test_a_dynamic_batch(backend: str, tmp_path: Path) -> None:
    net = Scores().eval()
    recipe = Recipe("executorch", backend=backend, dynamic_batch=4)
    file = save_module(net, torch.zeros(2, 3, 8, 8), tmp_path / "a.pte", recipe)
    for batch in (1, 3, 4):
        x = torch.randn(batch, 3, 8, 8)
        with torch.no_grad():
            np.testing.assert_allclose(run(file, x, outputs=1)[0], net(x), rtol=0, atol=1e-6)
    with pytest.raises(RuntimeError):
        run(file, torch.randn(5, 3, 8, 8), outputs=1)


@torch.library.custom_op("mvkit_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Foreign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return twice(x)


@slow
def test_what_executorch_refuses_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="executorch cannot convert this module") as caught:
        save_module(Foreign(), torch.randn(2, 8), tmp_path / "a.pte", Recipe("executorch"))
    assert_one_line(caught.value)
    assert not (tmp_path / "a.pte").exists()


@slow
def test_the_disk_is_not_the_module(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_module(Scores(), torch.zeros(1, 3, 8, 8), tmp_path / "no/a.pte", Recipe("executorch"))


@slow
def test_the_export_is_left_as_it_was(tmp_path: Path) -> None:
    """Other targets of the same command use it too."""
    recipe = complete(Recipe("executorch"))
    form = make_form(Gelus().eval(), torch.randn(2, 8), recipe)
    before = str(form.exported().graph)
    executorch.save(form, tmp_path / "a.pte", recipe)
    assert str(form.exported().graph) == before


@slow
def test_coreml_takes_no_bytes(tmp_path: Path) -> None:
    recipe = Recipe("executorch", backend="coreml")
    bytes_ = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ConversionError, match=r"takes no uint8 input \('x'\)") as caught:
        save_module(
            nn.Sequential(nn.Flatten()), bytes_, tmp_path / "a.pte", recipe, input_names=["x"]
        )
    assert_one_line(caught.value)


@slow
def test_coreml_keeps_fp32(tmp_path: Path) -> None:
    """By default the backend rounds weights to fp16."""
    recipe = Recipe("executorch", backend="coreml")
    net = Scores().eval()
    file = save_module(net, torch.zeros(1, 3, 8, 8), tmp_path / "a.pte", recipe)
    (delegate,) = read_pte(file).method().delegates
    assert net.conv.weight.detach().numpy().tobytes() in delegate.payload.data.tobytes()
