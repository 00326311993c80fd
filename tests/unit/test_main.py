import subprocess
import sys
from pathlib import Path

import pytest

from exporter import __version__
from exporter.__main__ import main


def test_version_and_help_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"netvol-exporter {__version__}\n"
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    help_text = capsys.readouterr().out
    for flag in ("--web.listen-address", "--engine.host", "--poll.interval", "--network.source", "check"):
        assert flag in help_text


def test_a_bad_flag_ends_with_code_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--poll.interval=never"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_once_without_an_engine_prints_the_page_and_fails(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("exporter.daemon._ONCE_PATIENCE_SECONDS", 0.2)
    assert main(["--once", f"--engine.host=unix://{tmp_path}/none.sock"]) == 1
    captured = capfdbinary.readouterr()
    assert b"docker_engine_up 0\n" in captured.out
    assert b"engine unreachable" in captured.err


def test_check_without_an_engine_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check", f"--engine.host=unix://{tmp_path}/none.sock"]) == 1
    assert "Docker engine" in capsys.readouterr().out


def test_a_task_that_dies_ends_the_process_with_its_reason_and_code_1() -> None:
    broken = """
import subprocess
import sys
from exporter.__main__ import main
from exporter.engine.watch import Watch
async def die(self): raise ZeroDivisionError("a bug")
Watch.run = die
sys.exit(main(["--engine.host=unix:///nonexistent.sock", "--web.listen-address=127.0.0.1:0"]))
"""
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if "the exporter ended" in line]
    assert "ZeroDivisionError: a bug" in line
