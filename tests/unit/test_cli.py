"""`encore`: exit codes, one clear line for errors, results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest
import typer

import app.commands
from app.cli import COMMANDS, load_command
from app.commands.shared import FAILED, INTERRUPTED, exit_on_error, output, print_table, progress
from app.domain.exceptions import NotFoundError

SECRET = "kJ8#vQ2!pL5@xN9$wR3%tM7^zB1&hC4*"


def encore(
    *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENCORE_")}
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ends_with(error: BaseException) -> tuple[int, None]:
    with pytest.raises(typer.Exit) as ended, exit_on_error():
        raise error
    return ended.value.exit_code, None


def test_help_lists_every_command_without_loading_any() -> None:
    code = "import sys, app.cli; sys.argv = ['encore', '--help']\ntry:\n    app.cli.main()\nfinally:\n"
    code += "    print(sorted(m for m in ('numpy', 'sqlalchemy', 'fastapi', 'faiss', 'pydantic') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in COMMANDS)


def test_opening_a_container_loads_nothing_that_only_single_commands_need() -> None:
    heavy = ("scipy.stats", "sklearn", "pandas", "pyarrow", "torch", "matplotlib", "fastapi")
    code = f"import sys, app.bootstrap; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_is_registered_by_its_module(name: str) -> None:
    assert load_command(name).help


def test_every_command_of_every_module_is_listed() -> None:
    for file in Path(app.commands.__file__).parent.glob("*.py"):
        commands = typer.Typer()
        register = getattr(import_module(f"app.commands.{file.stem}"), "register", None)
        if register is not None:
            register(commands)
            listed = {name for name, entry in COMMANDS.items() if entry.module == file.stem}
            assert set(typer.main.get_group(commands).commands) == listed, file.stem


def test_wrong_usage_ends_with_2() -> None:
    assert encore("no-such-command").returncode == 2
    assert encore("config", "--no-such-option").returncode == 2


def test_a_refused_setting_ends_with_1_and_one_line_that_names_it() -> None:
    done = encore("config", environment={"ENCORE_PROT": "8080"})
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "encore: ENCORE_PROT: no such setting; did you mean ENCORE_PORT?\n"


def test_config_prints_one_json_object_with_secrets_masked() -> None:
    done = encore("config", "--json", environment={"ENCORE_JWT_SECRET": SECRET})
    assert done.returncode == 0
    assert json.loads(done.stdout)["settings"]["ENCORE_JWT_SECRET"]["value"] == "***"
    assert SECRET not in done.stdout + done.stderr


def test_an_error_of_ours_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(NotFoundError("model")) == (FAILED, None)
    assert capsys.readouterr().err == "encore: no such model\n"


def test_an_unexpected_error_names_its_type_but_not_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(RuntimeError("canary-5f1c")) == (FAILED, None)
    shown = capsys.readouterr().err
    assert "RuntimeError" in shown
    assert "canary" not in shown


def test_ctrl_c_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(KeyboardInterrupt()) == (INTERRUPTED, None)
    assert capsys.readouterr().err == "encore: interrupted\n"


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ends_with(FileNotFoundError(2, "No such file or directory", "absent.csv")) == (FAILED, None)
    assert capsys.readouterr().err == "encore: No such file or directory: absent.csv\n"


def test_a_result_is_json_or_text(capsys: pytest.CaptureFixture[str]) -> None:
    output(True).result({"n": 1}, "one")
    output(False).result({"n": 1}, "one")
    output(True).note("a remark")
    captured = capsys.readouterr()
    assert captured.out == '{"n": 1}\none\n'
    assert captured.err == ""


def test_a_table_shows_what_it_is_given_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("[red]a[/red]", 10), (None, 2)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["name", "n"], ["[red]a[/red]", "10"], ["-", "2"]]


def test_progress_is_silent_when_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training") as bar:
        bar.update("fit", 0.5)
        bar.advance_to(10, None)
    assert capsys.readouterr() == ("", "")
