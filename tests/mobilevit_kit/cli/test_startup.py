"""What the command does before a verb runs, and what every verb has."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import mobilevit_kit.cli
from mobilevit_kit.cli import cli
from mobilevit_kit.models import list_models
from tests.mobilevit_kit.commands import Call

HEAVY = {
    "ai_edge_litert", "alembic", "android_harness", "cattrs", "huggingface_hub", "jax",
    "jsonschema", "litert_torch", "numpy", "PIL", "platformdirs", "psutil", "rich", "safetensors",
    "scipy", "sqlalchemy", "tensorflow", "torch", "transformers",
}  # fmt: skip


def imported_by(code: str) -> set[str]:
    """Top-level packages that are loaded after `code` has run in a fresh interpreter."""
    report = "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{report}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


def running(*args: str) -> str:
    """Code that runs the command and goes on."""
    return (
        f"sys.argv = {['mvkit', *args]!r}\n"
        "from mobilevit_kit.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0, end.code"
    )


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("import mobilevit_kit.cli") & HEAVY
    assert not imported_by(running("convert", "--help")) & HEAVY


@pytest.mark.parametrize("verb", ["models", "rewrites"])
def test_lists_import_no_torch(verb: str) -> None:
    loaded = imported_by(running(verb))
    assert "rich" in loaded
    assert not loaded & (HEAVY - {"numpy", "rich"})


def test_nothing_at_all_is_a_request_for_help(mvkit: Call) -> None:
    result = mvkit()
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: mvkit ")


def verbs(group: click.Group, *before: str) -> Iterator[list[str]]:
    """A group, its verbs, and theirs, as they are called."""
    yield [*before]
    for name, verb in group.commands.items():
        if isinstance(verb, click.Group):
            yield from verbs(verb, *before, name)
        else:
            yield [*before, name]


@pytest.mark.parametrize("verb", verbs(cli))
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(mvkit: Call, verb: list[str], flag: str) -> None:
    result = mvkit(*verb, flag)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Usage: mvkit ")
    assert max(map(len, result.out.splitlines())) <= 80
    group: click.Command = cli
    for name in verb:
        assert isinstance(group, click.Group)
        group = group.commands[name]
    if isinstance(group, click.Group):
        assert all(f"\n  {name} " in result.out for name in group.commands)
    elif verb != ["completion"]:
        assert all(option in result.out for option in ("--json", "--quiet", "--verbose", "--debug"))


def test_version_names_the_vendors_tools(mvkit: Call) -> None:
    result = mvkit("--version")
    assert result.code == 0
    versions = dict(line.split(maxsplit=1) for line in result.out.splitlines())
    assert versions["mvkit"] == importlib.metadata.version("mobilevit-kit")
    assert versions["torch"] == importlib.metadata.version("torch")
    assert versions["litert-torch"] == importlib.metadata.version("litert-torch")
    assert set(versions) >= {"python", "ai-edge-litert", "coremltools", "executorch", "tensorflow"}


def test_version_without_the_tools(mvkit_process: Call, tmp_path: Path) -> None:
    result = mvkit_process("--version", cwd=tmp_path, absent=("torch", "ai_edge_litert"))
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("mvkit ")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["modles"], "unknown verb 'modles'; did you mean models?"),
        (["frobnicate"], "unknown verb 'frobnicate'; one of models, info, convert, verify, "),
        (["--verison"], "No such option '--verison'. Did you mean '--version'?"),
        (["models", "--jsno"], "No such option '--jsno'. Did you mean '--json'?"),
        (["info"], "Missing argument 'MODEL'."),
        (["models", "mobilevit_*", "more"], "Got unexpected extra argument (more)"),
        (["completion", "tcsh"], "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of "),
    ],
)
def test_mistakes_in_the_call(mvkit: Call, args: list[str], line: str) -> None:
    result = mvkit(*args)
    assert (result.code, result.out) == (2, "")
    assert result.line.startswith(line)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(mvkit: Call, shell: str) -> None:
    result = mvkit("completion", shell)
    assert (result.code, result.err) == (0, "")
    assert "_MVKIT_COMPLETE" in result.out
    if shell == "bash":
        subprocess.run(["bash", "-n", "-c", result.out], check=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mvkit ver", {"verify"}),
        ("mvkit info mobilevit_", set(list_models("mobilevit_*"))),
        ("mvkit convert --target tf", {"tflite"}),
        ("mvkit convert --layout n", {"nchw", "nhwc"}),
        ("mvkit convert --rewrites al", {"all"}),
        ("mvkit convert --rewrites none,cons", {"none,constants"}),
    ],
)
def test_what_a_shell_completes(
    mvkit_process: Call, tmp_path: Path, words: str, expected: set[str]
) -> None:
    request = {
        "_MVKIT_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    result = mvkit_process(cwd=tmp_path, env=request)
    assert (result.code, result.err) == (0, "")
    assert {line.partition(",")[2] for line in result.out.split()} == expected


def break_down(pattern: str) -> list[str]:
    raise RuntimeError("a fault\nin two lines")


def test_a_fault_of_ours_is_one_line(mvkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobilevit_kit.models, "list_models", break_down)
    result = mvkit("models")
    assert (result.code, result.out) == (1, "")
    assert result.line == "internal error: RuntimeError: a fault in two lines; --debug shows where"


def test_debug_shows_where(mvkit: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobilevit_kit.models, "list_models", break_down)
    result = mvkit("models", "--debug")
    assert result.code == 1
    assert "in break_down" in result.err and result.err.startswith("Traceback")
    assert result.err.splitlines()[-1].startswith("mvkit: internal error")
    result = mvkit("info", "mobilevit", "--debug")
    assert result.code == 2 and "UsageError" in result.err


def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("mvkit"), "models"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "mvkit: No space left on device\n"


def test_a_reader_that_has_gone_is_no_fault() -> None:
    command = [Path(sys.executable).with_name("mvkit"), "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_json_is_json_whatever_the_names(mvkit_process: Call, tmp_path: Path) -> None:
    result = mvkit_process("models", "--json", cwd=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    names = [card["name"] for card in json.loads(result.out)]
    assert names == [*list_models(), *list_models("*@*")]
