"""The command line as the tests call it, and artifacts that it made once for the session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from filelock import FileLock

from converters.route import Route
from converters.targets import tflite
from mobilevit_kit import source
from mobilevit_kit.cli import main
from tests.mobilevit_kit.commands import NET, NET_INPUT, NET_RECIPE, Call, Result
from tests.session import session_folder

# Packages whose absence is simulated look as they do where they were never installed: finders do
# not find them, which is not the same as an import that raises.
ABSENT = """
import os
import sys


class Finder:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["ABSENT_PACKAGES"].split():
            return None
        return self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Finder(finder) for finder in sys.meta_path]
"""

LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def mvkit(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`mvkit("convert", ...)`: the command in this process, which has imported torch already."""

    def call(*args: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["mvkit", *map(str, args)])
        # As in a process of its own, Python's streams write to the descriptors 1 and 2.
        monkeypatch.setattr(sys, "stdout", os.fdopen(1, "w", closefd=False))
        monkeypatch.setattr(sys, "stderr", os.fdopen(2, "w", buffering=1, closefd=False))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        sys.stdout.flush()
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def mvkit_process(tmp_path_factory: pytest.TempPathFactory) -> Call:
    """The installed command, in a process of its own that lacks the packages in `absent`."""
    stub = tmp_path_factory.mktemp("absent")
    (stub / "sitecustomize.py").write_text(ABSENT)

    def call(
        *args: object,
        cwd: Path,
        absent: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        file_limit: int | None = None,
    ) -> Result:
        command = [str(Path(sys.executable).with_name("mvkit")), *map(str, args)]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        if absent:
            path = os.pathsep.join([str(stub), *filter(None, [os.environ.get("PYTHONPATH")])])
            environment |= {"PYTHONPATH": path, "ABSENT_PACKAGES": " ".join(absent)}
        if file_limit is not None:  # bytes of a file: more fails as on a full disk
            command = [sys.executable, "-c", LIMITED.format(limit=file_limit), *command]
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a user's network in `net.py` and nothing else."""
    folder = tmp_path / "workplace"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    monkeypatch.chdir(folder)
    source._user_module.cache_clear()  # a command starts without one
    yield folder
    source._user_module.cache_clear()


@pytest.fixture
def quick_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversions write a file at once, which only --no-verify can accept."""

    def save(form: object, path: Path, recipe: object) -> Route:
        path.write_bytes(b"a file of some target")
        return Route("direct")

    monkeypatch.setattr(tflite, "save", save)


@pytest.fixture(scope="session")
def user_artifact(tmp_path_factory: pytest.TempPathFactory, mvkit_process: Call) -> Path:
    """`net.py:make` converted with a preprocessing, beside `net.py`; not to be changed."""
    folder = session_folder(tmp_path_factory, "user")
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "result.json").exists():
            (folder / "net.py").write_text(NET)
            result = mvkit_process(
                "convert", "net.py:make", "--target", "tflite", *NET_INPUT, *NET_RECIPE, "--json",
                cwd=folder,
            )  # fmt: skip
            assert (result.code, result.err) == (0, ""), result.err
            (folder / "result.json").write_text(result.out)
    return folder / "mvkit-out" / "net-make-fp32.tflite"


@pytest.fixture
def user_copy(user_artifact: Path, workplace: Path) -> Path:
    """A copy of `user_artifact` under the current folder, beside the same `net.py`."""
    shutil.copytree(user_artifact.parent, workplace / "mvkit-out")
    return Path("mvkit-out", user_artifact.name)


@pytest.fixture(scope="session")
def reference_artifact(tmp_path_factory: pytest.TempPathFactory, mvkit_process: Call) -> Path:
    """mobilevit_xxs for 64x64 images, with its loud weights; not to be changed."""
    folder = session_folder(tmp_path_factory, "reference")
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "result.txt").exists():
            result = mvkit_process(
                "convert", "mobilevit_xxs", "--target", "tflite", "--input-size", "64", cwd=folder
            )
            assert (result.code, result.err) == (0, ""), result.err
            (folder / "result.txt").write_text(result.out)
    return folder / "mvkit-out" / "mobilevit_xxs-fp32.tflite"
