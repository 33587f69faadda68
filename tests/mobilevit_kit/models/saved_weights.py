"""Weight files for the tests, and what a refused one must leave behind."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from converters.errors import UsageError
from converters.provenance import state_digest
from mobilevit_kit.models import ModelCard, create_model, model_card
from mobilevit_kit.models.checkpoints import load_weights

StateDict = dict[str, Tensor]

NAME = "mobilevit_xxs"
CARD = model_card(NAME)


def loud_state(name: str = NAME) -> StateDict:
    return create_model(name, num_classes=10, weights="loud", seed=5).state_dict()


def saved(path: Path, content: object) -> Path:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def assert_same(model: nn.Module, state: StateDict) -> None:
    own = model.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[k], state[k]) for k in own)


def refusal(model: nn.Module, path: Path | str, card: ModelCard | None = CARD) -> str:
    """The one line with which a file is refused; the network must be as it was."""
    before = state_digest(model)
    with pytest.raises(UsageError) as caught:
        load_weights(model, path, card=card)
    assert state_digest(model) == before
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)
