"""What bash, zsh and fish need to complete the command line, made from the settings."""

from collections.abc import Iterator

from exporter.settings import Flag, flags

_COMMANDS = {
    "serve": "run the exporter",
    "check": "print what can and can't be seen from here",
    "completion": "print what a shell needs to complete the flags",
}
_SWITCHES = {
    "--once": "print the page once and exit",
    "--version": "print the version and exit",
    "--help": "list all flags",
}
_BASH = """\
# Completion of netvol-exporter for bash: eval "$(netvol-exporter completion bash)"
_netvol_exporter() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} flag=${{COMP_WORDS[COMP_CWORD-1]}}
    # bash takes --flag=value apart at the equals sign.
    if [[ $word == "=" ]]; then
        word=
    elif [[ $flag == "=" ]]; then
        flag=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case $flag in
{cases}        completion) COMPREPLY=($(compgen -W "bash zsh fish" -- "$word")); return ;;
    esac
    COMPREPLY=($(compgen -W "{words}" -- "$word"))
}}
complete -F _netvol_exporter netvol-exporter
"""
_ZSH = """\
#compdef netvol-exporter
# Completion of netvol-exporter for zsh: eval "$(netvol-exporter completion zsh)", or a file of $fpath.
_netvol_exporter() {{
    _arguments \\
{arguments}        '1:command:(({commands}))' \\
        '2:shell:(bash zsh fish)'
}}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _netvol_exporter "$@"
else
    compdef _netvol_exporter netvol-exporter
fi
"""
_FISH = """\
# Completion of netvol-exporter for fish: netvol-exporter completion fish | source
complete -c netvol-exporter -f
"""


def completion(shell: str) -> str:
    """The script for a shell: `bash`, `zsh` or `fish`."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _spelled(flag: Flag) -> list[str]:
    return [flag.name, flag.name.replace("--", "--no-", 1)] if flag.is_switch else [flag.name]


def _bash() -> str:
    words = [*_COMMANDS, *_SWITCHES, *(name for flag in flags().values() for name in _spelled(flag))]
    cases = ""
    for flag in flags().values():
        if flag.is_path:
            answer = 'compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$word"); return'
        elif flag.choices:
            answer = f'COMPREPLY=($(compgen -W "{" ".join(flag.choices)}" -- "$word")); return'
        else:
            answer = "return"
        cases += "" if flag.is_switch else f"        {flag.name}) {answer} ;;\n"
    return _BASH.format(cases=cases, words=" ".join(words))


def _zsh() -> str:
    commands = " ".join(f'{name}\\:"{_zsh_text(text)}"' for name, text in _COMMANDS.items())
    arguments = [f"'{name}[{_zsh_text(text)}]'" for name, text in _SWITCHES.items()]
    for flag in flags().values():
        arguments += [f"'{argument}'" for argument in _zsh_flag(flag)]
    return _ZSH.format(arguments="".join(f"        {one} \\\n" for one in arguments), commands=commands)


def _zsh_flag(flag: Flag) -> Iterator[str]:
    text = _zsh_text(flag.help)
    if flag.is_switch:
        yield from (f"{name}[{text}]" for name in _spelled(flag))
        return
    action = "_files" if flag.is_path else f"({' '.join(flag.choices)})" if flag.choices else ""
    yield f"{'*' if flag.repeatable else ''}{flag.name}=[{text}]:value:{action}"


def _zsh_text(text: str) -> str:
    for special in "\\[]:":
        text = text.replace(special, "\\" + special)
    return text.replace("'", "'\\''")


def _fish() -> str:
    lines = [
        f"complete -c netvol-exporter -n __fish_is_first_token -a {name} -d {_fish_text(text)}"
        for name, text in _COMMANDS.items()
    ]
    lines.append("complete -c netvol-exporter -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'")
    lines += [_fish_flag(name, text, "") for name, text in _SWITCHES.items()]
    for flag in flags().values():
        if flag.is_switch:
            takes = ""
        elif flag.is_path:
            takes = " -r -F"
        else:
            takes = f" -x -a '{' '.join(flag.choices)}'" if flag.choices else " -x"
        lines += [_fish_flag(name, flag.help, takes) for name in _spelled(flag)]
    return _FISH + "".join(f"{line}\n" for line in lines)


def _fish_flag(name: str, text: str, takes: str) -> str:
    return f"complete -c netvol-exporter -l {name.removeprefix('--')}{takes} -d {_fish_text(text)}"


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
