"""Options of all commands: what several have is declared once."""

import inspect
import typing
from collections import defaultdict

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
