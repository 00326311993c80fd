"""Fuzzes the contracts of tests/fuzz, guided by coverage, and prints a table. Run it with `make fuzz`.

Each target runs in a process of its own under atheris (libFuzzer); what it finds worth keeping goes to
`.build/fuzz/corpus`, so the next run sets out from there, and an input that breaks a contract to `.build/fuzz`.
`PYTHONPATH=. .venv/bin/python bench/fuzz.py --reproduce FILE TARGET` runs such an input again.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

PLACE = Path(".build/fuzz")
_LAST = re.compile(r"^#(\d+)\s\w+\s+(?:cov: (\d+) ft: (\d+) )?corp: (\d+)", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reproduce", type=Path, help="run one input again")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", help="by default all")
    arguments = parser.parse_args()
    if arguments.child:
        fuzz(arguments.targets[0], arguments.seconds)
    targets = targets_module().TARGETS
    names = arguments.targets or list(targets)
    if arguments.reproduce:
        targets[names[0]].check(arguments.reproduce.read_bytes())
        return
    print(f"{'target':<20}{'executions':>12}{'seconds':>9}{'per s':>9}{'edges':>7}{'features':>10}{'corpus':>8}")
    with ThreadPoolExecutor(arguments.processes) as pool:
        broken = [name for name in pool.map(lambda name: report(name, arguments.seconds), names) if name]
    if broken:
        sys.exit(f"contracts are broken, the inputs are in {PLACE}: {', '.join(broken)}")


def targets_module() -> ModuleType:
    from tests.fuzz import targets  # noqa: PLC0415 - the child imports it under instrumentation

    return targets


def report(name: str, seconds: int) -> str:
    """Fuzz a target and print its row; its name if its contract was broken."""
    command = [sys.executable, __file__, "--child", "--seconds", str(seconds), name]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    (PLACE / f"{name}.log").write_text(done.stdout + done.stderr)
    rows = _LAST.findall(done.stderr)
    executions, edges, features, corpus = (int(number or 0) for number in (rows[-1] if rows else "0000"))
    took = re.search(r"Done \d+ runs in (\d+) second", done.stderr)
    lasted = int(took[1]) if took else 0
    rate = executions // max(lasted, 1)
    result = "" if done.returncode == 0 else f"  broken, see {PLACE / name}.log"
    print(
        f"{name:<20}{executions:>12,}{lasted:>9}{rate:>9,}{edges:>7}{features:>10}{corpus:>8}{result}", flush=True
    )
    if done.returncode:
        trace = (done.stdout + done.stderr).partition("Uncaught Python exception: ===\n")[2]
        print(trace.partition("INFO:")[0], flush=True)
    return name if done.returncode else ""


def fuzz(name: str, seconds: int) -> None:
    """In the child: never returns."""
    import atheris  # noqa: PLC0415 - only here, after `scripts/setup.sh fuzz`

    with atheris.instrument_imports(include=["exporter"]):
        target = targets_module().TARGETS[name]
    corpus = PLACE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    longest = max(4096, *map(len, target.seeds))
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={longest}",
        f"-artifact_prefix={PLACE}/{name}-",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-use_value_profile=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    PLACE.mkdir(parents=True, exist_ok=True)
    main()
