"""The trained weights that come with the kit: what they are, and that they have learnt."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from converters import convert
from converters.preprocessing import Preprocessing
from converters.runtimes.base import run_file
from examples import train_digits
from examples.train_digits import ASSETS, NETWORKS, TOYS, VARIANTS, Digits
from mobilevit_kit.models.edgenext import CrossCovarianceAttention, FourierPositionalEncoding
from mobilevit_kit.models.efficientvit import CascadedGroupAttention
from mobilevit_kit.models.mobile_mqa import MobileMqa
from mobilevit_kit.models.mobilevit import Attention
from mobilevit_kit.models.weight_files import file_sha256

TRAINED = json.loads((ASSETS / "trained.json").read_text(encoding="utf-8"))
ATTENTION = (
    Attention,
    CascadedGroupAttention,
    CrossCovarianceAttention,
    FourierPositionalEncoding,
    MobileMqa,
)


@pytest.fixture(scope="module")
def held_out() -> Digits:
    return train_digits.digits()[1]


def stored(name: str) -> dict[str, Tensor]:
    return load_file(ASSETS / TRAINED[f"{name}@digits"]["file"])


def trained(name: str) -> nn.Module:
    network = NETWORKS[name]((VARIANTS | TOYS)[name], num_classes=10)
    network.load_state_dict(stored(name), strict=True)
    return network.eval()


def inputs(name: str, digits: Digits) -> Tensor:
    """The digits as the table of trained weights says that the network takes them."""
    row = TRAINED[f"{name}@digits"]
    recipe = Preprocessing(tuple(row["input_size"]), **row["preprocessing"])
    return torch.from_numpy(recipe.normalise(digits.photos))


@torch.inference_mode()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(batch) for batch in images.split(60)])


# The data


def test_split_is_the_documented_one(held_out) -> None:
    learnt, again = train_digits.digits()
    assert np.array_equal(again.photos, held_out.photos)
    assert (len(learnt.places), len(held_out.places)) == (1437, 360)
    assert not set(learnt.places) & set(held_out.places)
    assert set(learnt.places) | set(held_out.places) == set(range(1797))

    images, classes = load_digits(return_X_y=True)
    _, images, _, classes = train_test_split(
        images, classes, test_size=0.2, random_state=0, stratify=classes
    )
    assert np.array_equal(held_out.classes, classes)
    assert set(np.bincount(classes)) <= {35, 36, 37}
    # Each photo shows its digit: means of 8x8 pixels are close to the original's pixels, of
    # which another digit's are about 4 away.
    shown = held_out.photos.reshape(360, 8, 8, 8, 8, 3).mean((2, 4, 5)) * (16 / 255)
    assert np.abs(shown - images.reshape(-1, 8, 8)).mean() < 1


def test_no_held_out_digit_was_learnt_under_another_number(held_out) -> None:
    learnt = {photo.tobytes() for photo in train_digits.digits()[0].photos}
    assert not any(photo.tobytes() in learnt for photo in held_out.photos)


def test_photo_of_a_digit_is_grey_and_uses_the_whole_range() -> None:
    image = np.zeros((8, 8))
    image[2:6, 2:6] = 16
    photo = train_digits.photo(image)
    assert (photo.shape, photo.dtype) == ((64, 64, 3), np.uint8)
    assert (photo[..., :1] == photo).all()
    assert (photo[0, 0, 0], photo[32, 32, 0]) == (0, 255)


def test_sample_digits_are_held_out_ones_of_each_class(held_out) -> None:
    files = sorted((ASSETS / "digits").iterdir())
    assert [file.name for file in files] == [f"digit-{i}.png" for i in range(10)]
    known = {photo.tobytes(): c for photo, c in zip(held_out.photos, held_out.classes, strict=True)}
    for digit, file in enumerate(files):
        with Image.open(file) as photo:
            assert (photo.mode, photo.size) == ("RGB", (64, 64))
            assert known[photo.tobytes()] == digit
    assert sum(file.stat().st_size for file in files) < 32_000


# The weights


def test_table_lists_one_network_of_each_family() -> None:
    assert TRAINED.keys() == {f"{name}@digits" for name in NETWORKS}
    for key, row in TRAINED.items():
        assert row["model"] == key.partition("@")[0]
        assert row["toy"] == (row["model"] in TOYS)
        assert row["labels"] == list("0123456789")
        assert row["num_classes"] == 10


def test_files_are_those_of_the_table_and_small() -> None:
    files = {ASSETS / row["file"]: row["sha256"] for row in TRAINED.values()}
    assert files.keys() == set((ASSETS / "checkpoints").glob("*.safetensors"))
    assert {path: file_sha256(path) for path in files} == files
    assert sum(path.stat().st_size for path in files) <= 6_000_000


def test_model_card_states_the_measured_accuracies() -> None:
    card = (ASSETS / "checkpoints" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for key, row in TRAINED.items():
        (line,) = [line for line in card.splitlines() if line.startswith(f"| `{key}`")]
        assert f"{row['accuracy']:.2%}" in line
        assert f"({round(360 * row['accuracy'])}" in line
        network = NETWORKS[row["model"]]((VARIANTS | TOYS)[row["model"]], num_classes=10)
        assert f"| {sum(p.numel() for p in network.parameters()):,} |" in line
        size = (ASSETS / row["file"]).stat().st_size
        assert f"| {size / 1e6:.2f} MB |" in line


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_finite_halves(name) -> None:
    floats = {k: v for k, v in stored(name).items() if not k.endswith("num_batches_tracked")}
    assert {v.dtype for v in floats.values()} == {torch.float16}
    assert all(v.isfinite().all() for v in floats.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_accuracy_on_held_out_digits(name, held_out) -> None:
    answers = logits(trained(name), inputs(name, held_out)).argmax(1).numpy()
    accuracy = (answers == held_out.classes).mean()
    assert accuracy >= 0.97
    assert accuracy == pytest.approx(TRAINED[f"{name}@digits"]["accuracy"], abs=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_attention_layer_shows_in_the_logits(name, held_out) -> None:
    """Or else a fault in one would not be seen: 1e-3 is a hundred times the parity tolerance."""
    network, images = trained(name), inputs(name, held_out)[:60]
    expected = logits(network, images)
    layers = [module for module in network.modules() if isinstance(module, ATTENTION)]
    assert len(layers) >= 2
    for layer in layers:
        handle = layer.register_forward_hook(lambda *a: torch.zeros_like(a[2]))
        change = (logits(network, images) - expected).abs().max() / expected.abs().max()
        handle.remove()
        assert change > 1e-3, layer


def test_toys_have_the_parts_that_their_families_are_known_for() -> None:
    mqas = [m for m in trained("mobilenetv4_tiny").modules() if isinstance(m, MobileMqa)]
    assert {mqa.kv_stride for mqa in mqas} == {1, 2}
    assert all(mqa.heads > 1 for mqa in mqas)

    network = trained("efficientvit_tiny")
    attentions = [m for m in network.modules() if isinstance(m, CascadedGroupAttention)]
    assert all(attention.heads > 1 and attention.window > 1 for attention in attentions)
    seen = []
    attentions[0].register_forward_hook(lambda m, given, out: seen.append(given[0].shape))
    logits(network, torch.zeros(1, 3, 64, 64))
    assert seen[0][0] == 4  # windows of one image, in the place of the batch


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_tflite_file_gives_the_same_answers(name, held_out, tmp_path) -> None:
    network, images = trained(name), inputs(name, held_out)
    batches = [batch.contiguous() for batch in images.split(60)]
    artifact = convert(network, batches[0], name=name, output_dir=tmp_path, input_names=("image",))
    assert artifact.parity.verdict == "pass"
    run = run_file("tflite", artifact.path, [{"image": batch.numpy()} for batch in batches])
    answers = np.concatenate([next(iter(one.values())) for one in run.results]).argmax(1)
    assert np.array_equal(answers, logits(network, images).argmax(1).numpy())
    assert (answers == held_out.classes).mean() >= 0.97


# The training script


@pytest.fixture
def trainer(tmp_path, monkeypatch) -> Iterator[Callable[[str], Path]]:
    """`trainer(name)`: the files of one epoch's training on 96 digits, in a folder of its own."""
    learnt, held_out = train_digits.digits()
    few = Digits(*(column[:96] for column in learnt))
    monkeypatch.setattr(train_digits, "digits", lambda: (few, held_out))
    monkeypatch.setattr(train_digits, "EPOCHS", 1)
    threads = torch.get_num_threads()

    def train(name: str) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        monkeypatch.setattr(train_digits, "ASSETS", folder)
        torch.rand(1)  # what the generator did before must not matter
        result = CliRunner().invoke(train_digits.main, [name], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return folder

    yield train
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["efficientvit_tiny", "mobilenetv4_tiny"])
def test_training_is_deterministic_and_writes_what_ships(trainer, name) -> None:
    first = trainer(name)
    assert contents(first) == contents(trainer(name))
    row = json.loads((first / "trained.json").read_text(encoding="utf-8"))[f"{name}@digits"]
    file = first / row["file"]
    assert file_sha256(file) == row["sha256"] != TRAINED[f"{name}@digits"]["sha256"]
    changed = {"sha256", "accuracy"}
    assert {k: v for k, v in row.items() if k not in changed} == {
        k: v for k, v in TRAINED[f"{name}@digits"].items() if k not in changed
    }
    shapes = {k: (v.dtype, v.shape) for k, v in load_file(file).items()}
    assert shapes == {k: (v.dtype, v.shape) for k, v in stored(name).items()}
    for sample in (first / "digits").iterdir():
        assert sample.read_bytes() == (ASSETS / "digits" / sample.name).read_bytes()


def test_augmentation_moves_a_digit_by_a_few_pixels_only() -> None:
    torch.manual_seed(0)
    images = torch.full((500, 1, 64, 64), -1.0)
    images[:, :, 28:36, 28:36] = 1.0
    moved = train_digits.augment(images) + 1
    place = torch.arange(64.0)
    for axis in (2, 3):
        mass = moved.sum((1, 5 - axis))  # (B, 64) along the axis
        centre = (mass * place).sum(1) / mass.sum(1)
        assert (centre - 31.5).abs().max() < 5.2  # 4 pixels each way, turned and enlarged
        assert centre.std() > 1
