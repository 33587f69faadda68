"""What a file was made from and with: equal digests for equal things, others for others."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from converters import provenance
from converters.provenance import (
    code_digest,
    host,
    peak_memory_mib,
    request_digest,
    reset_peak_memory,
    state_digest,
    tool_versions,
)
from converters.recipe import Recipe
from converters.targets import tflite


def test_the_same_request_has_the_same_digest_in_another_process() -> None:
    what = {"name": "x", "size": (1, 2), "deep": {"b": 1, "a": None}}
    recipe = Recipe("tflite")
    digest = request_digest(recipe, what, "nchw", False)
    assert request_digest(recipe, what, "nchw", False) == digest
    code = (
        "import json, sys; from converters.provenance import request_digest;"
        "from converters.recipe import Recipe;"
        "print(request_digest(Recipe('tflite'), json.loads(sys.argv[1]), 'nchw', False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(what)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == digest


def test_a_request_that_differs_in_anything_has_another_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digests = [
        request_digest(Recipe("tflite"), {"seed": 0}, "nchw", False),
        request_digest(Recipe("tflite"), {"seed": 0}, "nhwc", False),
        request_digest(Recipe("tflite"), {"seed": 0}, "nchw", True),
        request_digest(Recipe("tflite"), {"seed": 1}, "nchw", False),
        request_digest(Recipe("tflite"), {"seed": "0"}, "nchw", False),
        request_digest(Recipe("tflite"), {}, "nchw", False),
        request_digest(Recipe("tflite", dynamic_batch=8), {}, "nchw", False),
    ]
    monkeypatch.setattr(provenance, "tool_versions", lambda _: {"torch": "99.0"})
    digests.append(request_digest(Recipe("tflite"), {"seed": 0}, "nchw", False))
    monkeypatch.setattr(provenance, "code_digest", lambda _: "other code")
    digests.append(request_digest(Recipe("tflite"), {"seed": 0}, "nchw", False))
    assert len(set(digests)) == len(digests)


def _edit(folder: Path) -> None:
    (folder / "a.py").write_text("x = 2\n")


def _rename(folder: Path) -> None:
    (folder / "a.py").rename(folder / "c.py")


def _add(folder: Path) -> None:
    (folder / "sub" / "new.py").write_text("")


@pytest.mark.parametrize("change", [_edit, _rename, _add])
def test_changed_code_has_another_digest(change: Callable[[Path], None], tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "sub").mkdir(parents=True)
    (before / "a.py").write_text("x = 1\n")
    (before / "sub" / "b.py").write_text("y = 1\n")
    shutil.copytree(before, after)
    (after / "a.pyc").write_bytes(b"no source")
    assert code_digest(before) == code_digest(after)
    code_digest.cache_clear()
    change(after)
    assert code_digest(before) != code_digest(after)


def test_tool_versions_are_those_installed() -> None:
    versions = tool_versions(tflite)
    assert versions["python"] == platform.python_version()
    assert versions["torch"] == importlib.metadata.version("torch")

    class Backend:
        TOOLS = ("numpy", "no-such-package-at-all")

    assert tool_versions(Backend).keys() == {"python", "mobilevit-kit", "numpy"}  # type: ignore[arg-type]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("scalar", torch.tensor(2.0))
        self.register_buffer("none", torch.zeros(0, 4))
        self.register_buffer("brief", torch.ones(2, dtype=torch.bfloat16))
        self.register_buffer("zero", torch.zeros(2))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("wave", torch.tensor([1 + 2j]))
        self.register_buffer("anchors", torch.arange(4.0), persistent=False)


def make() -> Net:
    torch.manual_seed(0)
    return Net()


@torch.no_grad()
def _change(name: str) -> Callable[[Net], object]:
    def change(net: Net) -> None:
        tensor = net.get_parameter(name) if name.startswith("fc") else net.get_buffer(name)
        flat = tensor.data.view(-1)
        flat[-1] = ~flat[-1] if flat.dtype == torch.bool else flat[-1] * 1.01

    return change


def _dtype(net: Net) -> None:
    net.zero = net.zero.to(torch.int32)  # the same bytes


def _shape(net: Net) -> None:
    net.fc.weight = nn.Parameter(net.fc.weight.reshape(3, 2))


def _name(net: Net) -> None:
    net.register_buffer("scale", net.scalar)
    del net.scalar


@pytest.mark.parametrize(
    "change",
    [
        *map(_change, ("fc.weight", "fc.bias", "scalar", "brief", "mask", "wave", "anchors")),
        _dtype,
        _shape,
        _name,
    ],
    ids=["weight", "bias", "scalar", "brief", "mask", "wave", "anchors", "dtype", "shape", "name"],
)
def test_a_change_of_any_tensor_changes_the_digest(change: Callable[[Net], object]) -> None:
    net = make()
    change(net)
    assert state_digest(net) != state_digest(make())


def test_what_does_not_change_the_state_does_not_change_the_digest() -> None:
    net = make().eval()
    net.fc.weight = nn.Parameter(net.fc.weight.t().contiguous().t(), requires_grad=False)
    assert not net.fc.weight.is_contiguous()
    assert state_digest(net) == state_digest(make())


def test_the_host_has_no_name() -> None:
    record = dataclasses.asdict(host())
    assert record["system"] == platform.system() and record["cpus"] >= 1
    assert platform.node() not in record.values()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets a peak")
def test_the_peak_is_of_the_time_since_the_reset() -> None:
    block = b"x" * (200 * 2**20)
    assert peak_memory_mib() > 200
    high = peak_memory_mib()
    del block
    reset_peak_memory()
    assert peak_memory_mib() < high - 150
