import os
import subprocess
import sys
from pathlib import Path

from exporter.privileges import CAPABILITIES, Wants, held, others_socket, wanted

NOBODY = 65534
SHOW = """
import re, subprocess, sys
from pathlib import Path
from exporter import logs
from exporter.privileges import Wants, drop
logs.configure("debug", "logfmt")
drop(Wants(rtt="rtt" in sys.argv))
def sets(text):
    print(*(int(re.search(rf"Cap{name}:\\s*(\\w+)", text)[1], 16) for name in ("Eff", "Prm", "Bnd")))
sets(Path("/proc/self/status").read_text())
sets(subprocess.check_output(["cat", "/proc/self/status"], text=True))
"""


def mask(*names: str) -> int:
    return sum(1 << CAPABILITIES[name] for name in names)


def shown(*words: str, by: tuple[str, ...] = ()) -> list[list[int]]:
    command = [*by, sys.executable, "-c", SHOW, *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "level=warning" not in answer.stderr, answer.stderr
    return [[int(number) for number in line.split()] for line in answer.stdout.splitlines()]


OF_USE = mask("CAP_DAC_READ_SEARCH", "CAP_SYS_PTRACE", "CAP_NET_ADMIN")
ADMIN = mask("CAP_SYS_ADMIN")
FOR_WALKS = mask("CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN")


def test_root_keeps_what_is_of_use_and_its_child_gets_what_walking_needs() -> None:
    own, child = shown()
    has = mask(*held())
    assert own == [OF_USE & has, OF_USE & has, FOR_WALKS & has]
    assert child == [FOR_WALKS & has] * 3


def test_what_root_could_hand_on_otherwise_its_child_does_not_get_either() -> None:
    _, child = shown(by=("setpriv", "--inh-caps=+net_admin,+sys_ptrace", "--ambient-caps=+net_admin"))
    assert child == [FOR_WALKS & mask(*held())] * 3


def test_for_round_trip_times_root_keeps_the_right_to_enter_namespaces() -> None:
    own, child = shown("rtt")
    assert own[0] == (OF_USE | ADMIN) & mask(*held())
    assert child[0] == FOR_WALKS & mask(*held())


def test_where_children_get_nothing_back_the_right_that_they_need_is_kept() -> None:
    own, child = shown(by=("setpriv", "--no-new-privs"))
    assert own[0] == (OF_USE | ADMIN) & mask(*held())
    assert child[0] == FOR_WALKS & mask(*held())


def test_a_user_without_rights_has_none_to_let_go_of() -> None:
    own, child = shown(by=("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"))
    assert own[:2] == child[:2]
    assert own[0] == 0


def test_where_there_is_nothing_to_let_go_of_a_sandbox_that_refuses_it_is_no_news() -> None:
    refuse = "import exporter.privileges as p\ndef refuse(*_): raise PermissionError(1, 'no')\np._set = refuse\n"
    by = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all")
    command = [*by, sys.executable, "-c", refuse + SHOW]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert "level=warning" not in answer.stderr, answer.stderr


def test_a_right_to_write_all_files_is_kept_only_for_a_socket_of_another_user(tmp_path: Path) -> None:
    assert "CAP_DAC_OVERRIDE" not in wanted(Wants())
    assert "CAP_DAC_OVERRIDE" in wanted(Wants(others_socket=True))
    socket = tmp_path / "docker.sock"
    assert not others_socket(f"unix://{socket}")
    socket.touch()
    os.chown(socket, NOBODY, NOBODY)
    assert others_socket(f"unix://{socket}")
    assert others_socket("", {"DOCKER_HOST": f"unix://{socket}"})
    os.chown(tmp_path, NOBODY, NOBODY)
    socket.unlink()
    assert others_socket(f"unix://{socket}")
    assert not others_socket("tcp://host:2375")


def test_what_socket_a_context_names_is_not_known_yet(tmp_path: Path) -> None:
    assert not others_socket("", {}, tmp_path)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text('{"currentContext": "rootless"}')
    assert others_socket("", {}, tmp_path)


def test_a_low_port_needs_a_right_of_its_own() -> None:
    assert "CAP_NET_BIND_SERVICE" in wanted(Wants(ports=(10420, 80)))
    assert "CAP_NET_BIND_SERVICE" not in wanted(Wants(ports=(10420, 0)))
