"""The wheel, installed where there is no checkout and no extra."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from converters import Artifact

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,  # builds, and downloads the base dependencies
    pytest.mark.xdist_group("packaging"),  # in one test process, which does so once
]


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    ours = ("PYTHONPATH", "MVKIT_CACHE")  # the second is of fixtures that build runners
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )


def done(result: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the checkout, as `pip install .` does."""
    out = tmp_path_factory.mktemp("dist")
    done(run(sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT, cwd=out))
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    done(run(sys.executable, "-m", "venv", folder, cwd=folder.parent))
    install = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    done(run(*install, cwd=folder.parent))
    return folder / "bin"


def files_in(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {one.filename: one.file_size for one in archive.infolist() if not one.is_dir()}


def test_the_wheel_holds_code_and_assets_and_nothing_else(wheel: Path) -> None:
    held = files_in(wheel)
    assert {name.split("/")[0] for name in held} == {
        "mobilevit_kit",
        "converters",
        "android_harness",
        f"mobilevit_kit-{wheel.name.split('-')[1]}.dist-info",
    }
    assert not [name for name in held if "__pycache__" in name or name.endswith(".pyc")]
    for path in (ROOT / "assets").rglob("*"):
        if path.is_file():
            assert held[f"mobilevit_kit/{path.relative_to(ROOT)}"] == path.stat().st_size
    assert "converters/manifest.schema.json" in held
    assert "android_harness/store/migrations/env.py" in held
    assert "android_harness/store/migrations/versions/0001_first.py" in held
    assert "android_harness/templates/comparison.svg" in held
    assert "android_harness/native/CMakeLists.txt" in held  # `mvkit runner build` compiles it
    assert any(name.endswith("/LICENSE") for name in held)


def test_a_source_distribution_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """Links inside a package do not survive in one."""
    done(run(sys.executable, "-m", "build", "--outdir", tmp_path, ROOT, cwd=tmp_path))
    assert set(files_in(tmp_path / wheel.name)) == set(files_in(wheel))


def test_what_needs_no_extra(clean: Path, tmp_path: Path) -> None:
    shown = done(run(clean / "mvkit", "--help", cwd=tmp_path))
    assert shown.stdout.startswith("Usage: mvkit ") and shown.stderr == ""
    models = done(run(clean / "mvkit", "models", cwd=tmp_path))
    assert "mobilevit_xs " in models.stdout and models.stderr == ""
    version = done(run(clean / "mvkit", "--version", cwd=tmp_path))
    assert "torch not installed" in version.stdout
    assert run(clean / "python", "-c", "import torch", cwd=tmp_path).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_assets_are_found_from_any_folder(clean: Path, tmp_path: Path) -> None:
    code = (
        "import mobilevit_kit\n"
        "from converters import Preprocessing\n"
        "from mobilevit_kit.images import class_names, sample_photos\n"
        "print(mobilevit_kit.__file__, len(class_names()), *sample_photos(Preprocessing((8, 8))))\n"
    )
    file, names, *photos = done(run(clean / "python", "-c", code, cwd=tmp_path)).stdout.split()
    assert Path(file).is_relative_to(clean.parent)
    assert names == "1000" and len(photos) >= 3


@pytest.mark.parametrize(
    ("args", "package", "extra"),
    [
        (["convert", "mobilevit_xs", "--target", "tflite"], "torch", "tflite"),
        (["convert", "net.py:make", "--target", "tflite", "--input", "1x2"], "torch", "tflite"),
        (["info", "mobilevit_xs"], "torch", "models"),
        (["runs"], "sqlalchemy", "lab"),
        (["predict", "mobilevit_xs", ROOT / "assets/photos/coffee.jpg"], "torch", "models"),
        (["runner", "list"], "platformdirs", "lab"),
    ],
)
def test_what_needs_an_extra_names_it(
    clean: Path, tmp_path: Path, args: list[object], package: str, extra: str
) -> None:
    result = run(clean / "mvkit", *args, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"mvkit: {package} is not installed; "
        f"install it with: pip install 'mobilevit-kit[{extra}]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_verify_names_the_smaller_extra(
    clean: Path, converted: Callable[[str], Artifact], tmp_path: Path
) -> None:
    file = converted("classifier").path
    result = run(clean / "mvkit", "verify", file, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "mvkit: ai-edge-litert is not installed; "
        "install it with: pip install 'mobilevit-kit[verify]'\n"
    )
