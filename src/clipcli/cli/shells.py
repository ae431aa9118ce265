"""Shells that complete clipcli's command line: their scripts, and what these and clipcli exchange.

A script hands over the words up to the cursor, a line each, and a last line with a dot: shells drop
empty lines at an end. It gets a line for each offer: its kind (`plain`, or `file` or `dir` for
whatever the shell itself completes), a comma, and the text.

The scripts are clipcli's own, since those of click lose names beside files, cut names at commas and
colons, and want zsh's completion to be on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    split_arg_string,
)

COMPLETE_VARIABLE = "_CLIPCLI_COMPLETE"
_WORDS, _LINE = "_CLIPCLI_WORDS", "_CLIPCLI_LINE"

# Bash takes a colon and an equals sign for ends of words. What it would replace is only what
# follows the last of them, so that the part before is taken off what is offered.
_BASH = """\
%(complete_func)s() {
    local line kind text word head files=() names=()
    word=${COMP_LINE:0:COMP_POINT}
    word=${word##*[[:space:]]}
    [[ $word == --*=* ]] && word=${word#*=}
    head=
    [[ $COMP_WORDBREAKS == *:* ]] && head=${word%%"${word##*[:=]}"}
    while IFS= read -r line; do
        kind=${line%%%%,*} text=${line#*,}
        if [[ $kind == plain ]]; then
            names+=("${text#"$head"}")
        else
            files+=("$kind")
        fi
    done < <(
        export _CLIPCLI_LINE="${COMP_LINE:0:COMP_POINT}"
        export _CLIPCLI_WORDS="$(printf '%%s\\n' "${COMP_WORDS[@]:0:COMP_CWORD+1}" .)"
        %(complete_var)s=bash_complete command "$1" 2>/dev/null
    )
    COMPREPLY=("${names[@]}")
    if [[ ${#files[@]} -eq 0 ]]; then
        return 0
    elif [[ ${#names[@]} -eq 0 ]]; then
        [[ ${files[0]} == dir ]] && compopt -o dirnames || compopt -o default
    else
        compopt -o filenames
        [[ ${files[0]} == dir ]] && kind=-d || kind=-f
        while IFS= read -r line; do
            COMPREPLY+=("$line")
        done < <(compgen "$kind" -- "$2")
    fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local line
    local -a lines names
    lines=("${(@f)$(
        export _CLIPCLI_WORDS="$(print -rl -- "${(@)words[1,CURRENT-1]}" "$PREFIX" .)"
        %(complete_var)s=zsh_complete command "$words[1]" 2>/dev/null
    )}")
    for line in $lines; do
        case $line in
            plain,*) names+=("${line#plain,}") ;;
            dir,*) _path_files -/ ;;
            file,*) _path_files -f ;;
        esac
    done
    [[ $PREFIX == --*=* ]] && compset -P '*='
    (( $#names )) && compadd -V clipcli -a names
}
# Where nothing has switched completion on, compdef is no command yet.
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""

_FISH = """\
function %(complete_func)s
    set -lx _CLIPCLI_WORDS (begin; commandline -opc; commandline -ct; echo .; end | string collect)
    for line in (%(complete_var)s=fish_complete command %(prog_name)s 2>/dev/null)
        set -l offer (string split -m 1 -- , $line)
        switch $offer[1]
            case dir
                __fish_complete_directories (string unescape -- (commandline -ct))
            case file
                __fish_complete_path (string unescape -- (commandline -ct))
            case plain
                echo -- $offer[2]
        end
    end
end
complete --no-files --keep-order --command %(prog_name)s --arguments '(%(complete_func)s)'
"""


class _Shell(ShellComplete):
    """What the shells have in common."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The finished words after the program's name, and the one that is being typed."""
        words = [_unquoted(word) for word in _words()]
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem) -> str:
        """An offer in a line."""
        return f"{item.type},{self.beginning()}{item.value}"

    def beginning(self) -> str:
        """What the shell wants before an offer that click gives without it: nothing."""
        return ""


class _Bash(_Shell):
    name = "bash"
    source_template = _BASH


class _Zsh(_Shell):
    name = "zsh"
    source_template = _ZSH


class _Fish(_Shell):
    name = "fish"
    source_template = _FISH

    def beginning(self) -> str:
        """`--model=`, where an option's value is typed in the same word."""
        option, equals, _ = self.get_completion_args()[1].partition("=")
        return option + equals if equals and option.startswith("-") else ""


SHELLS: dict[str, type[ShellComplete]] = {shell.name: shell for shell in (_Bash, _Zsh, _Fish)}
"""A new shell is a class and its name here."""


def register_shells() -> None:
    """Let click answer the scripts of these shells."""
    for shell in SHELLS.values():
        add_completion_class(shell)


def _words() -> list[str]:
    words = os.environ.get(_WORDS, "").split("\n")[:-1] or [""]
    line = os.environ.get(_LINE)
    return words if line is None else _joined(words, line)


def _joined(words: Sequence[str], line: str) -> list[str]:
    """Words that Bash has split at colons and the like, put together as they stand in the line.

    Args:
        words: of the command, the last one perhaps with what follows the cursor.
        line: up to the cursor; other commands may come first.
    """
    *before, current = words
    lengths = range(len(current), -1, -1)
    typed = next(current[:length] for length in lengths if line.endswith(current[:length]))
    joined, start = [typed], len(line) - len(typed)
    for word in reversed(before):
        end = len(line[:start].rstrip())
        if end == start:
            joined[0] = word + joined[0]
        else:
            joined.insert(0, word)
        start = end - len(word)
    return joined


def _unquoted(word: str) -> str:
    return "".join(split_arg_string(word))
