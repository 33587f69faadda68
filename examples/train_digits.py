"""Trains the networks that ship with weights: one of each family, on scikit-learn's digits.

    python examples/train_digits.py                    # all four, about ten minutes on a CPU
    python examples/train_digits.py efficientvit_tiny  # one of them

Needs a checkout installed with the kit's `models` extra, and scikit-learn. Writes the weights to
`assets/checkpoints/`, what is known of them to `assets/trained.json`, and one held-out digit of
each class to `assets/digits/`. The same machine and versions give the same files bit by bit;
another machine's sums may round otherwise, for other weights of about the same accuracy.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import safetensors.torch
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from converters.preprocessing import Preprocessing
from mobilevit_kit.models import edgenext, efficientvit, mobilenetv4, mobilevit
from mobilevit_kit.models.toys import TOYS
from mobilevit_kit.models.weight_files import file_sha256

ASSETS = Path(__file__).parents[1] / "assets"
PREPROCESSING = Preprocessing((64, 64), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SEED = 0  # of the split, the first weights, the order and the augmentation
EPOCHS = 30
BATCH = 48
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05
LABEL_SMOOTHING = 0.1

NETWORKS = {
    "mobilevit_xxs": mobilevit.MobileVit,
    "mobilenetv4_tiny": mobilenetv4.MobileNetV4,
    "efficientvit_tiny": efficientvit.EfficientVit,
    "edgenext_xx_small": edgenext.EdgeNext,
}
VARIANTS = mobilevit.VARIANTS | edgenext.VARIANTS


class Digits(NamedTuple):
    """Photos (N, 64, 64, 3), uint8, with their classes (N,) and their places in scikit-learn's."""

    photos: NDArray[np.uint8]
    classes: NDArray[np.int64]
    places: NDArray[np.int64]

    def inputs(self) -> Tensor:
        """What a network gets, (N, 3, 64, 64)."""
        return torch.from_numpy(PREPROCESSING.normalise(self.photos))


def digits() -> tuple[Digits, Digits]:
    """The digits to learn from, 1437, and those held out, 360: the same split every time."""
    data = load_digits()
    photos, classes = np.stack([photo(image) for image in data.images]), data.target
    learnt, held_out = train_test_split(
        np.arange(len(classes)), test_size=0.2, random_state=SEED, stratify=classes
    )
    return (
        Digits(photos[learnt], classes[learnt], learnt),
        Digits(photos[held_out], classes[held_out], held_out),
    )


def photo(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A digit of scikit-learn, (8, 8) from 0 to 16, as a grey photo, (64, 64, 3) from 0 to 255."""
    small = Image.fromarray((image * 255 / 16).round().astype(np.uint8))
    return np.array(small.resize((64, 64), Image.Resampling.BICUBIC).convert("RGB"))


def build(name: str) -> nn.Module:
    """A new network of ten classes, in training mode, without dropout and stochastic depth.

    Those would teach it to do without any one branch, and layer scales of 1e-6 or small weights
    at the start, meant for hundreds of epochs, would leave attention with nothing to say: a fault
    in it would then hardly show in the outputs.
    """
    torch.manual_seed(SEED)
    network = NETWORKS[name]((VARIANTS | TOYS)[name], num_classes=10)
    for key, parameter in network.named_parameters():
        if "gamma" in key:
            nn.init.ones_(parameter)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    return network


def augment(images: Tensor) -> Tensor:
    """Turns by up to 10 degrees, scales by about 10%, shifts by about 4 pixels: (B, C, H, W)."""
    angle, zoom, *shift = torch.rand(4, len(images)).mul(2).sub(1)
    angle, zoom = angle * math.radians(10), 1 + 0.1 * zoom
    x, y = (s * 2 * 4 / images.shape[-1] for s in shift)  # the width is 2 in grid_sample's measure
    sine, cosine = angle.sin() * zoom, angle.cos() * zoom
    turn = torch.stack((cosine, -sine, x, sine, cosine, y), dim=1).reshape(-1, 2, 3)
    grid = F.affine_grid(turn, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def train(network: nn.Module, learnt: Digits) -> None:
    """AdamW along a cosine with one epoch of warm-up; weights as they are after the last step."""
    images, classes = learnt.inputs(), torch.from_numpy(learnt.classes)
    # Norms, biases and layer scales are not to decay.
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    steps = len(images) // BATCH  # of an epoch; the rest of the shuffled digits is left out

    def rate(step: int) -> float:
        return min((step + 1) / steps, (1 + math.cos(math.pi * step / (EPOCHS * steps))) / 2)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    network.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            logits = network(augment(images[batch]))
            loss = F.cross_entropy(logits, classes[batch], label_smoothing=LABEL_SMOOTHING)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()


@torch.inference_mode()
def accuracy(network: nn.Module, held_out: Digits) -> float:
    """The share of the held-out digits that the network names rightly, in eval mode and fp32."""
    network.eval()
    answers = [network(batch).argmax(1) for batch in held_out.inputs().split(60)]
    return float((torch.cat(answers).numpy() == held_out.classes).mean())


def save(network: nn.Module, path: Path) -> None:
    """Stores the weights in fp16."""
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    write(path, safetensors.torch.save(state, {"format": "pt"}))


def write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def record(name: str, path: Path, measured: float) -> None:
    """Notes in `trained.json` what is known of a checkpoint."""
    table = ASSETS / "trained.json"
    entries = json.loads(table.read_text(encoding="utf-8")) if table.exists() else {}
    recipe = {k: getattr(PREPROCESSING, k) for k in ("crop", "interpolation", "mean", "std")}
    entries[f"{name}@digits"] = {
        "model": name,
        "file": path.relative_to(ASSETS).as_posix(),
        "sha256": file_sha256(path),
        "input_size": PREPROCESSING.size,
        "num_classes": 10,
        "labels": [str(digit) for digit in range(10)],
        "preprocessing": recipe,
        "photos": "digits",
        "accuracy": round(measured, 4),
        "toy": name in TOYS,
    }
    write(table, (json.dumps(dict(sorted(entries.items())), indent=1) + "\n").encode())


def save_samples(held_out: Digits) -> None:
    """The first held-out digit of each class, for parity checks and first tries."""
    for digit in range(10):
        first = int(np.argmax(held_out.classes == digit))
        Image.fromarray(held_out.photos[first]).save(ASSETS / "digits" / f"digit-{digit}.png")


@click.command(help="Trains NETWORKS, all by default, and stores their weights.")
@click.argument("names", nargs=-1, metavar="[NETWORKS]...", type=click.Choice(list(NETWORKS)))
def main(names: tuple[str, ...]) -> None:
    # A sum over several threads may come out in another order, and so be rounded otherwise.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    learnt, held_out = digits()
    for folder in ("checkpoints", "digits"):
        (ASSETS / folder).mkdir(exist_ok=True)
    save_samples(held_out)
    for name in names or NETWORKS:
        start = time.perf_counter()
        network = build(name)
        train(network, learnt)
        path = ASSETS / "checkpoints" / f"{name}-digits.safetensors"
        save(network, path)
        network.load_state_dict(safetensors.torch.load_file(path))  # what counts is what is stored
        measured = accuracy(network, held_out)
        record(name, path, measured)
        minutes = (time.perf_counter() - start) / 60
        print(f"{name}: {measured:.2%} of held-out digits, {minutes:.1f} minutes, {path}")


if __name__ == "__main__":
    main()
