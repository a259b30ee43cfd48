"""Completion of ``mae-plugin`` in shells: each asks the command itself what may come next."""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import Any

from mae_plugin.cli.tools import load_tool
from mae_plugin.shipped import config_names

# What shells call; not for people.
ASKED = '--complete'
_SCRIPTS = {
    'bash': """_mae_plugin() {
    local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    COMPREPLY=($(compgen -W "$(mae-plugin --complete "${words[@]}" 2>/dev/null)" \\
        -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _mae_plugin mae-plugin""",
    'zsh': """#compdef mae-plugin
_mae_plugin() {
    local -a found
    found=(${(f)"$(mae-plugin --complete "${words[@]:1:$((CURRENT - 1))}" 2>/dev/null)"})
    compadd -a found
    _files
}
compdef _mae_plugin mae-plugin""",
    'fish': """function __mae_plugin
    set -l words (commandline -opc) (commandline -ct)
    mae-plugin --complete $words[2..-1] 2>/dev/null
end
complete -c mae-plugin -a '(__mae_plugin)'""",
}


def main(arguments: Sequence[str]) -> None:
    """Print the script for a shell."""
    parser = argparse.ArgumentParser(
        description='Print what makes a shell complete mae-plugin. In ~/.bashrc: '
        'eval "$(mae-plugin completion bash)"'
    )
    parser.add_argument('shell', choices=sorted(_SCRIPTS))
    print(_SCRIPTS[parser.parse_args(arguments).shell])


def candidates(words: Sequence[str], commands: Mapping[str, Any]) -> Iterable[str]:
    """What may stand in the place of the last of ``words``, which follow ``mae-plugin``."""
    if len(words) < 2:
        return sorted(commands)
    name, last = words[0], words[-1]
    if name not in commands:
        return []
    if last.startswith('-'):
        return sorted(set(re.findall(r'--[\w-]+', help_of(name, commands[name].run))))
    if name in ('train', 'test', 'config-path', 'copy-config') and len(words) == 2:
        return config_names()
    return []


def help_of(name: str, run: Any) -> str:
    """What ``mae-plugin NAME --help`` prints."""
    before, told = sys.argv, StringIO()
    sys.argv = [f'mae-plugin {name}', '--help']
    try:
        with redirect_stdout(told), suppress(SystemExit):
            if callable(run):
                run(['--help'])
            else:
                load_tool(run).main()
    finally:
        sys.argv = before
    return told.getvalue()
