"""`--weights timm` against a small server on 127.0.0.1 that answers as the hub does."""

import hashlib
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from safetensors.torch import save

from converters.errors import MissingExtraError, UsageError
from converters.provenance import state_digest
from mobilevit_kit import create_model
from mobilevit_kit.models import hub, model_card
from mobilevit_kit.models.checkpoints import load_weights

REPOSITORY = "timm/mobilevit_xxs.cvnets_in1k"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Serves one file; `content` is what it sends, `digest` what it says the SHA-256 is."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), FakeHubHandler)
        self.content = content
        self.digest = hashlib.sha256(content).hexdigest()
        self.requests: list[str] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"


class FakeHubHandler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        if self.answer():
            self.wfile.write(self.server.content)

    def answer(self) -> bool:
        self.server.requests.append(self.command)
        found = self.path == f"/{REPOSITORY}/resolve/main/model.safetensors"
        self.send_response(200 if found else 404)
        if found:
            self.send_header("X-Repo-Commit", COMMIT)
            # The ETag of the large file behind the hub's own pointer to it.
            self.send_header("ETag", '"a-git-blob-id"')
            self.send_header("X-Linked-Etag", f'"{self.server.digest}"')
            self.send_header("X-Linked-Size", str(len(self.server.content)))
            self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        return found

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def published() -> bytes:
    return save(create_model("mobilevit_xxs", weights="loud", seed=3).state_dict())


@pytest.fixture
def server(published):
    fake = FakeHub(published)
    thread = threading.Thread(target=fake.serve_forever, args=(0.02,))
    thread.start()
    yield fake
    fake.shutdown()
    fake.server_close()
    thread.join()


@pytest.fixture
def nowhere() -> str:
    """An endpoint that refuses connections, as a machine without a network does at best."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_download_is_verified_and_quiet(server, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("TQDM_POSITION", "-1")  # progress bars although this is no terminal
    path, digest = hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    assert path.read_bytes() == server.content
    assert digest == server.digest
    assert capfd.readouterr() == ("", "")


def test_second_use_asks_no_network(server, nowhere, tmp_path) -> None:
    first = hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    server.requests.clear()
    assert hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path) == first
    assert server.requests == []
    assert hub.fetch(REPOSITORY, endpoint=nowhere, cache=tmp_path) == first


def test_corrupted_download_is_refused_until_it_is_deleted(server, tmp_path) -> None:
    good = server.content
    server.content = good[:5000] + bytes([good[5000] ^ 1]) + good[5001:]
    with pytest.raises(UsageError, match="SHA-256") as caught:
        hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    named = next(p for p in tmp_path.glob("**/blobs/*") if str(p) in caught.value.message)
    assert "delete this file" in (caught.value.hint or "")

    server.content = good
    with pytest.raises(UsageError, match="SHA-256"):
        hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    named.unlink()
    path, _ = hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    assert path.read_bytes() == good


def test_cached_file_altered_later_is_refused(server, nowhere, tmp_path) -> None:
    path, _ = hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    with pytest.raises(UsageError, match="SHA-256"):
        hub.fetch(REPOSITORY, endpoint=nowhere, cache=tmp_path)


def test_cache_without_symbolic_links_is_verified_with_the_hub(server, nowhere, tmp_path) -> None:
    path, digest = hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)
    assert hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path) == (path, digest)
    with pytest.raises(UsageError, match=r"bring model\.safetensors"):
        hub.fetch(REPOSITORY, endpoint=nowhere, cache=tmp_path)
    path.write_bytes(content[:-1] + b"\x7f")
    with pytest.raises(UsageError, match="SHA-256"):
        hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)


def assert_says_what_to_bring(error: UsageError) -> None:
    assert "\n" not in str(error)
    assert f"bring model.safetensors from https://huggingface.co/{REPOSITORY}" in str(error)
    assert "--weights FILE" in str(error)
    assert error.exit_code == 2


def test_offline_says_which_file_to_bring(nowhere, tmp_path, capfd) -> None:
    start = time.monotonic()
    with pytest.raises(UsageError) as caught:
        hub.fetch(REPOSITORY, endpoint=nowhere, cache=tmp_path)
    assert time.monotonic() - start < 5
    assert_says_what_to_bring(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bound", ["_STEP_PATIENCE", "_PATIENCE"])
def test_a_hub_that_never_answers_is_given_up(bound, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hub, bound, 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        start = time.monotonic()
        with pytest.raises(UsageError) as caught:
            hub.fetch(
                REPOSITORY, endpoint=f"http://127.0.0.1:{mute.getsockname()[1]}", cache=tmp_path
            )
    assert time.monotonic() - start < 4
    assert_says_what_to_bring(caught.value)


def test_patience_is_bounded() -> None:
    assert hub._STEP_PATIENCE <= hub._PATIENCE <= 10


def test_offline_mode_of_huggingface_hub(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE") as caught:
        hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    assert_says_what_to_bring(caught.value)
    assert server.requests == []


def test_unknown_repository(server, tmp_path) -> None:
    with pytest.raises(UsageError, match="HTTP status 404"):
        hub.fetch("timm/nothing", endpoint=server.endpoint, cache=tmp_path)


def test_hub_without_a_digest_is_refused(server, tmp_path) -> None:
    server.digest = "0123456789abcdef"
    with pytest.raises(UsageError, match="publishes no SHA-256"):
        hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    assert "GET" not in server.requests


def test_cache_that_cannot_be_written(server, tmp_path) -> None:
    blocked = tmp_path / "cache"
    blocked.write_text("a file where the cache should be")
    with pytest.raises(UsageError) as caught:
        hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=blocked)
    assert "\n" not in str(caught.value)


def test_progress_bars_come_back(server, tmp_path) -> None:
    import huggingface_hub.utils as utils

    utils.enable_progress_bars()
    verbosity = utils.logging.get_verbosity()
    hub.fetch(REPOSITORY, endpoint=server.endpoint, cache=tmp_path)
    assert not utils.are_progress_bars_disabled()
    assert utils.logging.get_verbosity() == verbosity


def test_missing_package(monkeypatch, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"mobilevit-kit\[models\]"):
        hub.fetch(REPOSITORY, cache=tmp_path)


def test_load_weights_timm(server, tmp_path, monkeypatch) -> None:
    fetch = hub.fetch
    monkeypatch.setattr(
        hub, "fetch", lambda name: fetch(name, endpoint=server.endpoint, cache=tmp_path)
    )
    model = create_model("mobilevit_xxs", seed=1)
    record = load_weights(model, "timm", card=model_card("mobilevit_xxs"))
    assert (record.kind, record.origin, record.seed) == ("hub", REPOSITORY, None)
    assert record.sha256 == server.digest
    expected = create_model("mobilevit_xxs", weights="loud", seed=3)
    assert state_digest(model) == state_digest(expected)

    with pytest.raises(UsageError, match=rf"{REPOSITORY}/model\.safetensors.*--num-classes 1000"):
        create_model("mobilevit_xxs", num_classes=10, weights="timm")


def test_environment_variables_reach_the_hub(server, tmp_path) -> None:
    """HF_ENDPOINT and HF_HOME, which huggingface_hub reads when it is imported."""
    script = textwrap.dedent("""
        from mobilevit_kit import create_model
        from converters.provenance import state_digest
        print(state_digest(create_model("mobilevit_xxs", weights="timm")))
    """)
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": server.endpoint,
        "HF_HOME": str(tmp_path),
    }
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120
    )
    expected = create_model("mobilevit_xxs", weights="loud", seed=3)
    assert (result.stdout.strip(), result.stderr) == (state_digest(expected), "")
