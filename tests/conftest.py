"""What several test files share, made once for the whole session: artifacts, native runners."""

from __future__ import annotations

import hashlib
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from android_harness.building import build_bundle
from android_harness.bundles import Bundle
from converters import Artifact, convert, load_artifact
from converters.recipe import Recipe
from converters.targets import complete, target_named
from tests.networks import Case, make_case
from tests.session import session_folder

torch.set_num_threads(1)  # two test processes share two cores
# A shell's background job ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Artifact]:
    """`converted(name, target)`: a case of `tests.networks` as an artifact, converted at most once.

    `target` is a name or a recipe, TFLite by default. All test processes share one folder; the
    files in it must not be changed.
    """
    cache = session_folder(tmp_path_factory, "artifacts")

    def get(name: str, target: str | Recipe = "tflite") -> Artifact:
        recipe = complete(target if isinstance(target, Recipe) else Recipe(target))
        # One folder a recipe: some recipes give files of the same name.
        folder = cache / hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
        folder.mkdir(exist_ok=True)
        file = folder / (recipe.stem(name) + target_named(recipe.target).SUFFIX)
        with FileLock(folder / f"{name}.lock"):
            if file.exists():
                return load_artifact(file)
            case: Case = make_case(name)
            return convert(
                case.module,
                case.example_inputs,
                recipe,
                name=name,
                output_dir=folder,
                **case.options,
            )

    return get


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Bundle]]:
    """`bundled(target, abi)`: a native runner, built at most once; for this host by default.

    Commands find it, too: MVKIT_CACHE is the folder that all test processes share.
    """
    cache = session_folder(tmp_path_factory, "cache")

    def get(target: str, abi: str = "host") -> Bundle:
        with FileLock(cache / f"{target}-{abi}.lock"):
            return build_bundle(target, abi)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVKIT_CACHE", str(cache))
        yield get


@pytest.fixture
def copied(converted: Callable[..., Artifact], tmp_path: Path) -> Callable[..., Path]:
    """`copied(name, target)`: a copy of an artifact's three parts that a test may damage."""

    def get(name: str, target: str | Recipe = "tflite") -> Path:
        artifact = converted(name, target)
        for path in artifact.path.parent.glob(f"{artifact.manifest.name}.*"):
            if path.is_dir():
                shutil.copytree(path, tmp_path / path.name)
            else:
                shutil.copyfile(path, tmp_path / path.name)
        return tmp_path / artifact.path.name

    return get
