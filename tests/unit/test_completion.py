import os
import pty
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exporter.completion import completion
from exporter.settings import flags
from tests.harness.wait import eventually

SHELLS = ("bash", "zsh", "fish")
CHECKS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


@pytest.fixture(autouse=True)
def shells_are_there() -> None:
    missing = [shell for shell in SHELLS if shutil.which(shell) is None]
    assert not missing, f"the tests need more programs: apt-get install {' '.join(missing)}"


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def script(shell: str, tmp_path: Path) -> Path:
    path = tmp_path / f"completion.{shell}"
    path.write_text(completion(shell))
    return path


class Terminal:
    """A shell that a person types into."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._shown = ""

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def shows(self, pattern: str, what: str) -> None:
        eventually(lambda: re.search(pattern, self._read()), f"{what}; it shows {self._shown!r}", 15)
        self._shown = ""

    def _read(self) -> str:
        while select.select([self._descriptor], [], [], 0)[0]:
            self._shown += os.read(self._descriptor, 65536).decode(errors="replace")
        return self._shown


@contextmanager
def terminal(folder: Path, *command: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "dumb", "PS1": "$ "}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment, start_new_session=True
    )
    try:
        yield Terminal(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_the_script_is_one_for_its_shell(shell: str, script: Path) -> None:
    done = subprocess.run([*CHECKS[shell], str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_each_flag_is_completed(shell: str) -> None:
    text = completion(shell)
    for flag in flags().values():
        assert flag.name.removeprefix("--") in text
    assert "no-collector.tcp" in text


def test_the_console_script_prints_it(shell: str) -> None:
    program = Path(sys.executable).with_name("netvol-exporter")
    done = subprocess.run([program, "completion", shell], capture_output=True, text=True, check=True)
    assert done.stdout == completion(shell)


@pytest.mark.parametrize(
    "interactive", [("bash", "--norc", "--noprofile", "-i"), ("zsh", "-f", "-i")], ids=lambda words: words[0]
)
def test_a_tab_completes_commands_flags_values_and_files(interactive: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "some proc").mkdir()
    script = tmp_path / "completion"
    script.write_text(completion(interactive[0]))
    with terminal(tmp_path, *interactive) as shell:
        if interactive[0] == "zsh":
            shell.type("autoload -Uz compinit; compinit -u\n")
        shell.type(f"source {script}; echo so''urced\n")
        shell.shows("sourced\r\n", "the script read")
        for typed, completed in [
            ("netvol-exporter comp", "completion "),
            ("netvol-exporter completion fi", "fish "),
            ("netvol-exporter --volume.max-s", "--volume.max-share"),
            ("netvol-exporter --log.level=de", "--log.level=debug "),
            ("netvol-exporter --log.level de", "--log.level debug "),
            ("netvol-exporter --path.procfs=so", r"--path.procfs=some\ proc/"),
        ]:
            shell.type(f"{typed}\t")
            shell.shows(re.escape(completed), completed)
            shell.type("\x15")


def test_fish_completes_commands_flags_values_and_files(tmp_path: Path) -> None:
    script = tmp_path / "completion.fish"
    script.write_text(completion("fish"))
    for typed, completed in [
        ("comp", "completion"),
        ("completion f", "fish"),
        ("--volume.max-s", "--volume.max-share"),
        ("--log.level=de", "--log.level=debug"),
        ("--log.level de", "debug"),
        (f"--path.procfs={tmp_path}/compl", f"--path.procfs={script}"),
    ]:
        command = f"source {script}; complete -C 'netvol-exporter {typed}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", command],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == [completed]
