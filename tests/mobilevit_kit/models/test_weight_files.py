"""Files that hold no weights, or hold more: each is one clear line."""

import argparse
import errno
import os
import random
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from converters.errors import MissingExtraError, UsageError
from mobilevit_kit import create_model
from mobilevit_kit.models.checkpoints import load_weights
from mobilevit_kit.models.weight_files import read_state_dict
from tests.mobilevit_kit.models.saved_weights import (
    CARD,
    NAME,
    StateDict,
    loud_state,
    refusal,
    saved,
)


@pytest.fixture(scope="module")
def loud() -> StateDict:
    """The state dict that most tests save; not to be written to."""
    return loud_state()


@pytest.fixture
def model() -> nn.Module:
    return create_model(NAME, num_classes=10)


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_that_would_run_code_does_not(zipped, model, loud, tmp_path) -> None:
    path, target = tmp_path / "w.pt", tmp_path / "was-run"
    content = {"model": loud, "extra": Malicious(target)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    line = refusal(model, path)
    assert not target.exists()
    assert "unpickling it needs posix.mkdir, which could run code" in line
    assert "save its state_dict() alone" in line
    torch.load(path, weights_only=False)  # the file is armed
    assert target.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_pickled_module_is_refused(zipped, model, tmp_path) -> None:
    path = tmp_path / "w.pt"
    torch.save(model, path, _use_new_zipfile_serialization=zipped)
    assert "needs mobilevit_kit.models.mobilevit.MobileVit" in refusal(model, path)


def test_training_options_in_a_pickle_are_refused_by_name(model, loud, tmp_path) -> None:
    path = saved(tmp_path / "w.pth", {"model": loud, "args": argparse.Namespace(lr=1)})
    assert "needs argparse.Namespace" in refusal(model, path)


def test_torchscript_program_is_refused(model, tmp_path) -> None:
    path = tmp_path / "w.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    assert "is a TorchScript program" in refusal(model, path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1, 2], "an object of type list"),
        (torch.ones(3), "an object of type Tensor"),
        ({"epoch": 3}, "its entry 'epoch' is of type int"),
        ({3: torch.ones(3)}, "its entry '3' is of type Tensor"),
        ({"model": {}}, "holds no tensors"),
    ],
)
def test_pickles_of_other_things(content, reason, model, tmp_path) -> None:
    assert reason in refusal(model, saved(tmp_path / "w.pt", content))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_damaged_files(suffix, model, loud, tmp_path) -> None:
    whole = saved(tmp_path / f"whole{suffix}", loud).read_bytes()
    path = tmp_path / f"w{suffix}"
    for content, reason in [
        (b"", "is empty"),
        (whole[:7], "truncated or not"),
        (whole[: len(whole) // 2], "truncated or not"),
        (whole[:-1], "truncated or not"),
        (b"<!DOCTYPE html><html>Not found</html>", "truncated or not"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    ]:
        path.write_bytes(content)
        line = refusal(model, path)
        assert reason in line
        assert str(path) in line


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_mutated_files_never_escape_as_another_error(suffix, tmp_path) -> None:
    dice = random.Random(0)
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    path = tmp_path / f"w{suffix}"
    torch_format = {"_use_new_zipfile_serialization": suffix == ".pt"}
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, **torch_format)
    whole, refused = path.read_bytes(), 0
    for i in range(150):
        mutated = bytearray(whole)
        if i % 3 == 0:
            mutated = mutated[: dice.randrange(len(whole))]
        elif i % 3 == 1:
            for _ in range(5):
                mutated[dice.randrange(min(400, len(whole)))] = dice.randrange(256)
        else:
            kept = dice.randrange(8, 200)
            mutated[kept:] = dice.randbytes(len(whole) - kept)
        path.write_bytes(mutated)
        try:
            read_state_dict(path)
        except UsageError:
            refused += 1
    assert refused > 100


def test_paths_that_are_no_files(model, tmp_path) -> None:
    assert "does not exist" in refusal(model, tmp_path / "none.pt")
    assert "is a folder" in refusal(model, tmp_path)
    folder = tmp_path / "folder.safetensors"
    folder.mkdir()
    assert "is a folder" in refusal(model, str(folder))
    os.mkfifo(tmp_path / "pipe.pt")
    assert "is not a regular file" in refusal(model, tmp_path / "pipe.pt")
    assert "File name too long" in refusal(model, "x" * 300 + ".pt")


def test_unreadable_file(model, loud, tmp_path, monkeypatch) -> None:
    path = saved(tmp_path / "w.pt", loud)

    def denied(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # file modes do not bind the superuser
    assert f"{path} cannot be read: Permission denied" in refusal(model, path)


@pytest.mark.parametrize("name", ["w.ckpt", "w.bin", "w", "timmm"])
def test_unknown_kinds_name_the_known_ones(name, model) -> None:
    line = refusal(model, name)
    assert f"must be a .safetensors, .pt or .pth file, not '{name}'" in line
    assert "'loud' and 'timm'" in line


def test_timm_weights_are_for_the_kit_s_models() -> None:
    assert "not for Linear" in refusal(nn.Linear(2, 2), "timm", card=None)


def test_missing_package(model, loud, tmp_path, monkeypatch) -> None:
    path = saved(tmp_path / "w.safetensors", loud)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingExtraError, match=r"mobilevit-kit\[models\]"):
        load_weights(model, path, card=CARD)
