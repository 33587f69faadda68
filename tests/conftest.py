"""What several test files share: converted artifacts, made once for the whole session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from converters import Artifact, convert, load_artifact
from tests.networks import Case, make_case

torch.set_num_threads(1)  # two test processes share two cores


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """`converted(name)`: the artifact of a case of `tests.networks`, converted at most once.

    All test processes share one folder; the files in it must not be changed.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    cache = folder / "artifacts"
    cache.mkdir(exist_ok=True)

    def get(name: str) -> Artifact:
        file = cache / f"{name}-fp32.tflite"
        with FileLock(cache / f"{name}.lock"):
            if file.exists():
                return load_artifact(file)
            case: Case = make_case(name)
            return convert(
                case.module, case.example_inputs, name=name, output_dir=cache, **case.options
            )

    return get


@pytest.fixture
def copied(converted: Callable[[str], Artifact], tmp_path: Path) -> Callable[[str], Path]:
    """`copied(name)`: a copy of an artifact's three files that a test may damage."""

    def get(name: str) -> Path:
        artifact = converted(name)
        for path in artifact.path.parent.glob(f"{artifact.manifest.name}.*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path / artifact.path.name

    return get
