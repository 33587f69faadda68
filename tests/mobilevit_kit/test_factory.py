"""A user's own network from a file or package, and the mistakes that such a file can hold."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from converters.errors import MissingExtraError, UsageError
from mobilevit_kit.factory import is_factory, load_user_module
from tests.mobilevit_kit.commands import contents


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("net.py:make", True),
        ("net.py", True),
        ("folder/net.py:make", True),
        ("package.module:make", True),
        ("./mobilevit_xs", True),
        ("mobilevit_xs", False),
        ("package.module", False),
    ],
)
def test_which_names_are_a_users_own(name: str, expected: bool) -> None:
    assert is_factory(name) is expected


@pytest.mark.parametrize("attribute", ["make", "Net", "instance", "Nets.small"])
def test_a_factory_a_class_an_instance_or_one_within(
    workplace: Path, attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    with (workplace / "net.py").open("a") as file:
        file.write("\n\nclass Nets:\n    small = Net\n")
    before = contents(workplace)
    module = load_user_module(f"net.py:{attribute}", seed=0).module
    assert type(module).__name__ == "Net" and isinstance(module, torch.nn.Module)
    assert contents(workplace) == before  # no bytecode either
    assert str(workplace) not in sys.path


def test_a_path_and_a_package(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (workplace / "net.py").read_text()
    package = workplace / "nets" / "small"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "one.py").write_text(text)
    named = load_user_module("nets.small.one:make", seed=0)
    by_path = load_user_module(f"{package}/one.py:make", seed=0)
    assert named.state_digest == by_path.state_digest
    monkeypatch.chdir(package.parent)
    assert load_user_module("small.one:make", seed=0).code_digest == named.code_digest


@pytest.mark.parametrize("draw", ["torch.rand(1)[0]", "numpy.random.rand()", "random.random()"])
def test_seed_determines_the_weights_whatever_draws_them(workplace: Path, draw: str) -> None:
    (workplace / "drawn.py").write_text(
        "import random, numpy, torch\n"
        "def make():\n"
        "    layer = torch.nn.Linear(1, 1)\n"
        f"    torch.nn.init.constant_(layer.bias, {draw})\n"
        "    return layer\n"
    )

    def bias(seed: int) -> float:
        return float(load_user_module("drawn.py:make", seed).module.bias.detach())

    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first = bias(1)
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert (states[2] == np.random.get_state()[1]).all()
    for draw_elsewhere in (torch.rand, np.random.rand):
        draw_elsewhere(1000)
    random.random()
    assert bias(1) == first != bias(2)


def test_digest_covers_the_local_files_that_are_imported(workplace: Path) -> None:
    (workplace / "layers.py").write_text("width = 3\n")
    (workplace / "wide.py").write_text(
        "import torch, layers\ndef make():\n    import late\n    return torch.nn.Linear(2, 3)\n"
    )
    (workplace / "late.py").write_text("")
    digests = {load_user_module("wide.py:make", seed=0).code_digest}
    assert digests == {load_user_module("wide.py:make", seed=0).code_digest}
    for name in ("layers.py", "wide.py", "late.py"):
        with (workplace / name).open("a") as file:
            file.write("# another\n")
        digests.add(load_user_module("wide.py:make", seed=0).code_digest)
    assert len(digests) == 4
    (workplace / "unused.py").write_text("")
    assert load_user_module("wide.py:make", seed=0).code_digest in digests


def test_files_in_two_folders_each_have_their_own_helper(workplace: Path) -> None:
    for folder, width in (("a", 3), ("b", 5)):
        (workplace / folder).mkdir()
        (workplace / folder / "layers.py").write_text(f"width = {width}\n")
        (workplace / folder / "net.py").write_text(
            "import torch, layers\nmake = lambda: torch.nn.Linear(2, layers.width)\n"
        )
    widths = [load_user_module(f"{f}/net.py:make", seed=0).module.out_features for f in "aba"]
    assert widths == [3, 5, 3]


def test_a_file_may_have_the_name_of_a_library(workplace: Path) -> None:
    text = (workplace / "net.py").read_text()
    sys.modules.pop("this", None)  # a module that nobody has imported yet
    for name in ("random.py", "numpy.py", "converters.py", "this.py"):
        (workplace / name).write_text(text)
        module = load_user_module(f"{name}:make", seed=0).module
        assert type(module).__name__ == "Net"
    assert np is sys.modules["numpy"] and random is sys.modules["random"]
    assert "errors" in dir(sys.modules["converters"])
    assert "this" not in sys.modules


BAD_FILE = """
import torch

number = 7
nothing = lambda: None
make_model = torch.nn.Identity
lazy = lambda: torch.nn.LazyLinear(3)
empty = lambda: torch.nn.Linear(2, 2, device="meta")
scripted = lambda: torch.jit.script(torch.nn.Linear(2, 2))

class NeedsWidth(torch.nn.Module):
    def __init__(self, width):
        super().__init__()

def explode():
    raise ValueError("first line\\nsecond line")

def leave():
    raise SystemExit

def no_library():
    import no_such_library
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bad.py:make_modle", "bad.py has no attribute 'make_modle'; did you mean make_model?"),
        ("bad.py:zzz", "bad.py has no attribute 'zzz'"),
        ("bad.py:torch.nn.Liner", "bad.py has no attribute 'Liner'; did you mean Linear?"),
        ("bad.py:", "'bad.py:' does not say which attribute .*; write bad.py:make_model"),
        ("bad.py", "'bad.py' does not say which attribute .*; write bad.py:make_model"),
        ("nets/mobilevit", "'nets/mobilevit' does not say .*; write nets/mobilevit:make_model"),
        (":make", "':make' does not say which attribute .*; write make:make_model"),
        ("missing.py:make", "missing.py: no such file"),
        ("folder.py:make", "folder.py: no such file"),
        ("no_package:make", "there is no module 'no_package' here or installed"),
        ("torch.no_part:make", "there is no module 'torch.no_part' here or installed"),
        ("bad.py:number", "bad.py:number is a int, not a network or a factory"),
        ("bad.py:nothing", "bad.py:nothing returns a NoneType, not a torch.nn.Module"),
        ("bad.py:NeedsWidth", r"bad.py:NeedsWidth fails when it is called: TypeError: .*'width'"),
        ("bad.py:explode", "bad.py:explode fails .* called: ValueError: first line second line"),
        ("bad.py:leave", "bad.py:leave fails when it is called: SystemExit"),
        ("bad.py:no_library", "bad.py:no_library fails .* No module named 'no_such_library'"),
        ("bad.py:lazy", "bad.py:lazy has a lazy parameter 'weight' without a shape; run the"),
        ("bad.py:empty", "bad.py:empty has its parameter 'weight' on meta; return"),
        ("bad.py:scripted", "bad.py:scripted is TorchScript; give"),
        ("syntax.py:make", r"/syntax.py, line 2: .*never closed"),
        ("calls_syntax.py:make", r"/syntax.py, line 2: .*never closed"),
        ("null.py:make", "null.py: .*null bytes"),
        ("latin.py:make", "latin.py.*utf-8"),
        ("raises.py:make", "raises.py fails when it is imported: ZeroDivisionError: division"),
        ("leaves.py:make", "leaves.py fails when it is imported: SystemExit: 3"),
        ("needs.py:make", "needs.py needs the module 'no_such_library', which is missing"),
    ],
)
def test_mistakes(workplace: Path, name: str, message: str) -> None:
    (workplace / "folder.py").mkdir()
    for file, text in {
        "bad.py": BAD_FILE.encode(),
        "syntax.py": b"\nprint(1\n",
        "calls_syntax.py": b"import syntax\n",
        "null.py": b"x = 1\0\n",
        "latin.py": "name = 'größe'\n".encode("latin-1"),
        "raises.py": b"1 / 0\n",
        "leaves.py": b"import sys\nsys.exit(3)\n",
        "needs.py": b"import no_such_library\n",
    }.items():
        (workplace / file).write_bytes(text)
    before = contents(workplace)
    path = list(sys.path)
    with pytest.raises(UsageError, match=message) as caught:
        load_user_module(name, seed=0)
    assert "\n" not in str(caught.value)
    assert contents(workplace) == before
    assert sys.path == path


def test_a_file_that_failed_is_read_anew(workplace: Path) -> None:
    (workplace / "later.py").write_text("import helper\nhelper.missing\n")
    (workplace / "helper.py").write_text("")
    with pytest.raises(UsageError, match="has no attribute 'missing'"):
        load_user_module("later.py:make", seed=0)
    (workplace / "helper.py").write_text("import torch\nmissing = torch.nn.Identity\n")
    (workplace / "later.py").write_text("import helper\nmake = helper.missing\n")
    assert isinstance(load_user_module("later.py:make", seed=0).module, torch.nn.Identity)


def test_without_torch(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises ModuleNotFoundError
    with pytest.raises(MissingExtraError, match=r"mobilevit-kit\[models\]"):
        load_user_module("net.py:make", seed=0)
