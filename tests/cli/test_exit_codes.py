"""The exit codes: one enum, and the README's table says the same."""

import re

from command import ROOT

from clipcli.cli.exit_codes import ExitCode


def test_every_code_is_in_the_readmes_table_and_no_other():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| exit code | means |")[2]
    rows = re.findall(r"^\| ([0-9, ]+) \|", table.partition("\n\n")[0], re.MULTILINE)
    told = [int(code) for row in rows for code in row.split(",")]
    assert sorted(told) == sorted(ExitCode)
