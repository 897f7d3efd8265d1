"""Shell completion: a real shell takes the script, and offers what may be typed."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

import pytest

from daemon.cli import commands
from daemon.cli.arguments import CAUSES, SHELLS, parser
from daemon.cli.completion import script
from daemon.cli.exits import Exit
from tests.cli.desk import exit_code
from tests.parts import require

SECONDS = 30.0


def subcommands() -> set[str]:
    """Every command of the grammar."""
    (action,) = (each for each in parser()._actions if isinstance(each, argparse._SubParsersAction))
    return set(action.choices)


def run(shell: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A shell without anybody's start-up files."""
    return subprocess.run([shell, *words], capture_output=True, text=True, timeout=SECONDS, cwd=cwd, check=False)


def offered(folder: Path, *typed: str) -> set[str]:
    """What bash offers after Tab at the end of these words."""
    (folder / "lastgood.bash").write_text(script("bash"))
    words = " ".join(f"'{word}'" for word in ("lastgood", *typed))
    asked = f"""
        source ./lastgood.bash
        complete -p lastgood >/dev/null || exit 7
        COMP_WORDS=({words})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        COMP_LINE="${{COMP_WORDS[*]}}"
        COMP_POINT=${{#COMP_LINE}}
        _shtab_lastgood lastgood "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD - 1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    found = run("bash", "--norc", "--noprofile", "-c", asked, cwd=folder)
    assert (found.returncode, found.stderr) == (0, "")
    return {line.rstrip() for line in found.stdout.splitlines() if line.strip()}


@pytest.mark.real
def test_bash_takes_it(tmp_path: Path) -> None:
    """`bash -n` finds nothing wrong, and `complete` knows the command after it is read."""
    (tmp_path / "lastgood.bash").write_text(script("bash"))
    checked = run("bash", "-n", "lastgood.bash", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.real
def test_bash_offers_every_command(tmp_path: Path) -> None:
    """After `lastgood `, all of them; after a beginning, those that begin so."""
    assert offered(tmp_path, "") >= subcommands()
    assert offered(tmp_path, "de") == {"decline", "declare"}


@pytest.mark.real
def test_bash_offers_the_options_and_words_of_a_command(tmp_path: Path) -> None:
    """Options after a dash, the reasons of `declare`, the shells of `completion`, and files where a path is meant."""
    assert {"--image", "--json", "--token-file"} <= offered(tmp_path, "gate", "--")
    assert offered(tmp_path, "declare", "shop/web", "--reason", "") == set(CAUSES)
    assert offered(tmp_path, "completion", "") == set(SHELLS)
    (tmp_path / "my.yaml").touch()
    assert "my.yaml" in offered(tmp_path, "check-config", "my")
    assert "my.yaml" in offered(tmp_path, "run", "--config", "my")


@pytest.mark.real
@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells_take_it(shell: str, tmp_path: Path) -> None:
    """`-n` (read, do not run) finds nothing wrong, where the shell is installed."""
    require(shell)
    (tmp_path / "script").write_text(script(shell))
    checked = run(shell, "-f", "-n", "script", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the script, without any daemon, and no command of the grammar is missing in it."""
    assert exit_code(lambda: commands.main(["completion", shell])) == Exit.OK
    out, err = capsys.readouterr()
    assert err == ""
    assert not [name for name in subcommands() if name not in out]


def test_an_unknown_shell_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """One line that names the known ones."""
    assert exit_code(lambda: commands.main(["completion", "fish"])) == Exit.USAGE
    err = capsys.readouterr().err
    assert all(shell in err for shell in SHELLS)
