"""What the documents say is held against the project: links, queries, configuration, and every command."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from exporter.metrics.catalogue import CATALOGUE

REPOSITORY = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(REPOSITORY)
    for path in [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        *(REPOSITORY / "deploy").rglob("*.md"),
    ]
)


@dataclass(frozen=True)
class RunBy:
    """The test that runs a command, as `file::name`."""

    test: str


@dataclass(frozen=True)
class NotRun:
    """Why no test runs a command."""

    because: str


_PACKAGES = "tests/integration/test_packages.py::"
_COMPLETED = "commands_flags_values_and_files"
_COMPLETION = "tests/unit/test_completion.py::"
_REMOTE = "tests/integration/test_remote.py::"
_DOCUMENTED = "tests/integration/test_documented.py::"
_INSTALL = "tests/install/"
_PROFILES = RunBy(f"{_INSTALL}test_image.py::test_each_profile_gives_right_numbers_and_lacks_what_check_says")
_STACK = RunBy(
    f"{_INSTALL}test_compose.py::test_up_gives_right_numbers_rules_and_alerts_and_publishes_on_loopback_only"
)
SECTIONS: dict[tuple[str, str], RunBy | NotRun] = {
    ("docs/install.md", "Image"): _PROFILES,
    ("docs/install.md", "Minimal"): _PROFILES,
    ("docs/install.md", "Hardened"): _PROFILES,
    ("docs/install.md", "Standard"): _PROFILES,
    ("docs/install.md", "What can be seen"): _PROFILES,
    ("docs/install.md", "Compose"): _STACK,
    ("docs/install.md", "Another profile"): _STACK,
    ("docs/install.md", "Swarm"): RunBy(
        f"{_INSTALL}test_swarm.py::test_every_node_is_found_by_its_name_with_right_numbers"
    ),
    ("docs/install.md", "The program"): RunBy(
        f"{_INSTALL}test_systemd.py::test_its_command_runs_as_a_user_of_the_group_docker_and_tells_systemd_how_it_goes"
    ),
    ("docs/install.md", "The unit"): NotRun("systemd is not what runs the machine of the tests"),
}
"""Pages and headings whose blocks a test reads and runs as they stand."""

_MAKE = NotRun("it is what runs these tests, or a bench whose figures are in docs/measurements.md")
_CI = NotRun("CI runs it before the tests")
COMMANDS: dict[str, RunBy | NotRun] = {
    # README.md, CONTRIBUTING.md
    "make run": RunBy(f"{_DOCUMENTED}test_make_run_serves_right_numbers_from_a_fresh_clone"),
    "make test": _MAKE,
    "sudo make test": _MAKE,
    "sudo make vm": NotRun("it takes ten minutes and a virtual machine; its figures are in docs/measurements.md"),
    "make lint": _CI,
    "make dashboards": NotRun("`make lint` runs the same program with --check"),
    "make docs": NotRun("`make lint` runs the same program with --check"),
    "make fuzz": NotRun("it lasts as long as one likes; `make test` runs its targets with inputs of hypothesis"),
    "make lock": NotRun("it asks the registry for the newest versions, so what it writes changes from day to day"),
    # docs/packages.md
    "make dist": RunBy(f"{_PACKAGES}test_the_sbom_lists_the_locked_dependencies_and_nothing_else"),
    "make sbom": RunBy(f"{_PACKAGES}test_the_sbom_lists_the_locked_dependencies_and_nothing_else"),
    "make audit": RunBy(f"{_PACKAGES}test_an_audit_that_can_not_ask_fails"),
    "pipx install dist/*.whl": RunBy(f"{_PACKAGES}test_pipx_installs_it_and_removes_it"),
    "netvol-exporter --version": RunBy(f"{_PACKAGES}test_pipx_installs_it_and_removes_it"),
    **dict.fromkeys(
        [
            "python3 -m venv /opt/netvol-exporter",
            "/opt/netvol-exporter/bin/pip install --require-hashes -r requirements/runtime.txt",
            "/opt/netvol-exporter/bin/pip install --no-deps dist/*.whl",
            "/opt/netvol-exporter/bin/netvol-exporter --version",
        ],
        RunBy(f"{_PACKAGES}test_the_wheel_with_its_locked_dependencies_is_whole"),
    ),
    'eval "$(netvol-exporter completion bash)"': RunBy(f"{_COMPLETION}test_a_tab_completes_{_COMPLETED}"),
    'eval "$(netvol-exporter completion zsh)"': RunBy(f"{_COMPLETION}test_a_tab_completes_{_COMPLETED}"),
    "netvol-exporter completion fish | source": RunBy(f"{_COMPLETION}test_fish_completes_{_COMPLETED}"),
    # docs/remote.md
    "netvol-exporter --engine.host=tcp://docker1:2376 --engine.tls-ca=ca.pem --engine.tls-cert=cert.pem "
    "--engine.tls-key=key.pem": RunBy(f"{_REMOTE}test_traffic_and_volumes_of_an_engine_at_tcp_with_tls_are_true"),
    "netvol-exporter --engine.host=ssh://monitor@docker1": RunBy(
        f"{_REMOTE}test_traffic_of_an_engine_at_ssh_is_true_for_more_containers_than_sshd_has_sessions"
    ),
    # docs/troubleshooting.md
    "netvol-exporter check": RunBy("tests/integration/test_commands.py::test_check_tells_what_is_seen"),
}
"""Each line of a ```sh block, without its comment. A line that isn't here fails the test below."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    section: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = (REPOSITORY / page).read_text()
        for match in re.finditer(r"^( *)```([a-z]*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL):
            content = "\n".join(line.removeprefix(match[1]) for line in match[3].splitlines())
            before = text[: match.start()]
            *_, section = ["", *re.findall(r"^#+ (.*)$", before, re.MULTILINE)]
            found.append(Block(page, before.count("\n") + 1, section, match[2], content))
    return [block for block in found if not languages or block.language in languages]


def commands(block: Block) -> Iterator[str]:
    """The commands of a block, without comments, lines that end in a backslash joined."""
    for line in block.text.replace("\\\n", " ").splitlines():
        command = re.sub(r"(^|\s+)#.*", "", line).strip()
        if command:
            yield re.sub(r"\s+", " ", command)


def expressions(block: Block) -> Iterator[str]:
    """The queries of a block: a line that is indented or closes a bracket goes on with the one before it."""
    query = ""
    for line in block.text.splitlines():
        text = re.sub(r"(^|\s)#.*", "", line)
        if query and not text.startswith((" ", ")")):
            yield query
            query = ""
        query = f"{query}\n{text}" if query else text
    if query.strip():
        yield query


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    made: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        number = 1
        unique = anchor
        while unique in made:
            unique, number = f"{anchor}-{number}", number + 1
        made.add(unique)
    return made


def promtool(folder: Path, *words: str) -> str:
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(
        r"^ *```.*?^ *```$|`[^`\n]*`", "", (REPOSITORY / page).read_text(), flags=re.MULTILINE | re.DOTALL
    )
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_every_page_is_linked_from_the_readme_or_a_page_that_is() -> None:
    seen, queue = set(), [REPOSITORY / "README.md"]
    while queue:
        page = queue.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text()):
            target = (page.parent / link).resolve()
            queue += sorted(target.glob("*.md")) if target.is_dir() else [target] if target.exists() else []
    assert {REPOSITORY / page for page in PAGES} - seen == set()


def test_every_block_says_what_language_it_is_in() -> None:
    assert [str(block) for block in blocks("")] == [], "write sh, promql, yaml, text or mermaid behind the ```"


@pytest.mark.parametrize("block", blocks("sh", "bash", "shell", "console"), ids=str)
def test_every_command_is_run_by_a_test_or_it_is_said_why_not(block: Block) -> None:
    if (str(block.page), block.section) in SECTIONS:
        return
    unknown = [command for command in commands(block) if command not in COMMANDS]
    assert unknown == [], "name in COMMANDS the test that runs it, or the reason why none does"


def test_the_list_of_commands_is_current() -> None:
    documented = {command for block in blocks("sh", "bash", "shell", "console") for command in commands(block)}
    assert set(COMMANDS) - documented == set()
    sections = {(str(block.page), block.section) for block in blocks("sh", "console")}
    assert set(SECTIONS) - sections == set()
    for how in (*COMMANDS.values(), *SECTIONS.values()):
        if isinstance(how, RunBy):
            file, _, name = how.test.partition("::")
            assert f"def {name}(" in (REPOSITORY / file).read_text(), how.test


@pytest.mark.parametrize("block", blocks("promql"), ids=str)
def test_queries_are_queries_of_families_that_exist(block: Block, tmp_path: Path) -> None:
    queries = list(expressions(block))
    assert queries
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "documents", "rules": rules}]}))
    assert promtool(tmp_path, "check", "rules", "rules.yml") == ""
    known = {family.name for family in CATALOGUE}
    for query in queries:
        for name in re.findall(r"\b(?:docker|netvol)_[a-z0-9_]+(?=[\s{\[)]|$)", query):
            assert name in known or re.sub("_(bucket|sum|count)$", "", name) in known, name


@pytest.mark.parametrize("block", blocks("yaml", "yml"), ids=str)
def test_configuration_is_what_its_program_reads(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    (tmp_path / "file.yml").write_text(block.text)
    if "groups" in content:
        assert promtool(tmp_path, "check", "rules", "file.yml") == ""
    elif {"scrape_configs", "remote_write", "rule_files"} & content.keys():
        assert promtool(tmp_path, "check", "config", "--syntax-only", "file.yml") == ""


def test_a_line_that_is_indented_goes_on_with_the_query_before_it() -> None:
    block = Block(Path("x.md"), 1, "", "promql", '# first\na  # one\n  + b\n\nc\nd{x="#"}\n')
    assert [" ".join(query.split()) for query in expressions(block)] == ["a + b", "c", 'd{x="#"}']


def test_commands_are_told_from_comments() -> None:
    block = Block(Path("x.md"), 1, "", "sh", "# first\nmake run  # serves\ncurl -s \\\n  http://x/#y\n")
    assert list(commands(block)) == ["make run", "curl -s http://x/#y"]
