"""The manual page and the shell's completion of a program, from what its --help says."""

import re

from built import Built, run

OPTION = re.compile(r"^  (?:-\w,)?--([a-z0-9-]+)(.*)$")


def help_of(built: Built, program: str, *words: str) -> str:
    return run(built.folder / program, *words, "--help", env={"XDG_STATE_HOME": "/var/lib"})


def subcommands(built: Built, program: str) -> dict[str, str]:
    """Each with what it does."""
    text = help_of(built, program)
    listed = text.partition("Subcommands:\n")[2]
    return dict(re.findall(r"^  (\S+) +(.+)$", listed, re.MULTILINE))


def escape(text: str) -> str:
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def options_as_roff(text: str) -> list[str]:
    lines = []
    for line in text.splitlines():
        words = re.match(r"^  (-\S.*?|[A-Z]\S*.*?)(?:  +(.*))?$", line)
        if words:
            lines += [".TP", f"\\fB{escape(words[1])}\\fR"] + ([escape(words[2])] if words[2] else [])
        elif line.startswith("   "):
            lines.append(escape(line.strip()))
    return lines


def page(built: Built, program: str) -> str:
    lines = [f".TH {program.upper()} 1 \"\" \"diffused {built.version}\"", ".SH NAME",
             f"{program} \\- {escape(help_of(built, program).splitlines()[0])}", ".SH SYNOPSIS", f".B {program}", "[command] [options]"]
    own = help_of(built, program).partition("Subcommands:\n")[0]
    lines += [".SH OPTIONS", *options_as_roff(own)]
    for name, about in subcommands(built, program).items():
        lines += [f".SH {program} {name}".upper(), escape(about), *options_as_roff(help_of(built, program, name))]
    return "\n".join(lines) + "\n"


def completion(built: Built, program: str) -> str:
    """Commands, their options, and files for all else."""
    def long_options(*words: str) -> str:
        return " ".join("--" + found[1] for line in help_of(built, program, *words).splitlines() if (found := OPTION.match(line)))

    commands = subcommands(built, program)
    function = "_" + program.replace("-", "_")
    cases = "".join(f"    {name}) words=\"{long_options(name)}\" ;;\n" for name in commands)
    return f"""# Completion of {program} for bash.
{function}() {{
  local words="{' '.join(commands)} {long_options()}"
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "${{COMP_WORDS[1]}}" in
{cases}    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F {function} {program}
"""
