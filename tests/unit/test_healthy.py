import http.server
import threading
from collections.abc import Iterator

import pytest

from exporter import healthy
from tests.harness.exporter import free_port


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/-/healthy" else 404)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name of the base class
        pass


@pytest.fixture
def port() -> Iterator[int]:
    """Somebody who answers there as the exporter does, on all IPv4 addresses."""
    with http.server.HTTPServer(("0.0.0.0", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1", "127.0.0.2"])
def test_it_asks_where_the_exporter_listens(host: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETVOL_WEB_LISTEN_ADDRESS", f"{host}:{port}")
    assert healthy.main([]) == 0


def test_of_several_addresses_it_asks_the_first_and_a_flag_wins(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETVOL_WEB_LISTEN_ADDRESS", f"127.0.0.1:{port},127.0.0.1:{free_port()}")
    assert healthy.main([]) == 0
    assert healthy.main([f"--web.listen-address=127.0.0.1:{free_port()}"]) == 1


def test_an_exporter_that_does_not_answer_is_unhealthy_and_it_is_told_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    port = free_port()
    assert healthy.main([f"--web.listen-address=127.0.0.1:{port}"]) == 1
    assert f"127.0.0.1:{port}: " in capsys.readouterr().out


def test_unusable_settings_are_unhealthy_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETVOL_WEB_LISTEN_ADDRESS", "nonsense")
    assert healthy.main([]) == 1
    assert "--web.listen-address" in capsys.readouterr().out


def test_it_tells_its_version_without_asking_anybody(capsys: pytest.CaptureFixture[str]) -> None:
    assert healthy.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("netvol-exporter ")
