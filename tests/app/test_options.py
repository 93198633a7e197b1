"""Options of all commands: what several have is declared once."""

import inspect
import re
import typing
from collections import defaultdict

from output_cases import FOLDERS, OUTPUTS
from pvq.bounds.app import main
from typer.models import OptionInfo


def declared():
    """Of every option of every command: its name and words, and the object that declares it."""
    app = main.commands()
    groups = [group.typer_instance for group in app.registered_groups]
    assert groups  # the commands of `pvq run`
    commands = [command for each in (app, *groups) for command in each.registered_commands]
    once = {inspect.unwrap(command.callback): command for command in commands}  # a report of a run has two names
    for command in once.values():
        hints = typing.get_type_hints(command.callback, include_extras=True)
        for name in inspect.signature(command.callback).parameters:
            for info in getattr(hints[name], "__metadata__", ()):
                if isinstance(info, OptionInfo):
                    yield command.name, (name, info.help), info


def test_no_option_is_declared_twice():
    of = defaultdict(list)
    for command, words, info in declared():
        of[words].append((command, info))
    shared = {words: found for words, found in of.items() if len(found) > 1}
    assert {"gap", "grid", "granularity", "range_", "block", "update", "scope", "solver", "seed", "quiet"} <= {
        name for name, _ in shared
    }
    for words, found in shared.items():
        assert len({id(info) for _, info in found}) == 1, (words, [command for command, _ in found])


def test_every_option_says_what_it_is():
    for command, (name, help_), _ in declared():
        assert help_, (command, name)
        assert help_.endswith((".", "?")), (command, name)


def test_every_file_and_folder_that_an_option_writes_is_tried_under_faults():
    tried = {(command[command[0] == "run"], option) for command, option, *_ in (*OUTPUTS, *FOLDERS)}
    written = defaultdict(set)
    for command, (name, _), info in declared():
        words = re.findall(r"FILE|DIR|RUN", info.metavar or "")
        if words and (info.rich_help_panel == "Output" or name == "out"):
            first = info.default if isinstance(info.default, str) else f"--{name.replace('_', '-')}"
            written[command, name].update((first, *info.param_decls))
    assert len(written) > 25
    for (command, name), spellings in written.items():
        assert any((command, spelling) in tried for spelling in spellings), (command, name)
