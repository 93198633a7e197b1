"""Docstrings of the package: numpydoc, every parameter on a line of its own with its type, errors by name."""

import inspect
import re
import typing

import pvq
import pytest

CLASSES = [name for name in pvq.__all__ if inspect.isclass(getattr(pvq, name, None))]
FUNCTIONS = [name for name in pvq.__all__ if inspect.isfunction(getattr(pvq, name, None))]


def public_functions():
    """Functions and public methods of classes of ours, with the name to be read."""
    for name in FUNCTIONS:
        yield name, getattr(pvq, name)
    for name in CLASSES:
        cls = getattr(pvq, name)
        for attribute, value in vars(cls).items():
            function = getattr(value, "__func__", value)
            if not attribute.startswith("_") and inspect.isfunction(function):
                yield f"{name}.{attribute}", function


def sections(text):
    """Lines under each underlined heading."""
    found, heading = {}, None
    lines = inspect.cleandoc(text).splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", below):
            heading = found.setdefault(line, [])
        elif heading is not None and not re.fullmatch(r"-{3,}", line):
            heading.append(line)
    return found


def entries(lines):
    """The lines of a section that begin an entry, as they stand."""
    return [line for line in lines if line and not line.startswith(" ")]


DOCUMENTED = dict(public_functions())


def test_there_is_something_to_check():
    assert {"bound", "curve", "compare", "verify", "extract", "Result.score", "Comparison.plot"} <= set(DOCUMENTED)
    assert len(DOCUMENTED) > 15


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_parameter_has_a_line_and_a_type(name):
    function = DOCUMENTED[name]
    text = inspect.getdoc(function)
    assert text, name
    assert text.splitlines()[0].endswith((".", ":")), name
    said = [entry.split(" : ") for entry in entries(sections(text).get("Parameters", []))]
    parameters = inspect.signature(function).parameters.values()
    wanted = [
        ("**" if p.kind is p.VAR_KEYWORD else "") + p.name for p in parameters if p.name not in ("self", "cls")
    ]
    assert [entry[0] for entry in said] == wanted
    for entry in said:
        assert entry[0].startswith("**") or (len(entry) == 2 and entry[1]), (name, entry)
    for p in parameters:
        if p.default is None:
            assert any(entry[0] == p.name and entry[1].endswith("optional") for entry in said), p.name


@pytest.mark.parametrize("name", DOCUMENTED)
def test_errors_that_are_named_are_errors_of_ours_or_python_s(name):
    for entry in entries(sections(inspect.getdoc(DOCUMENTED[name])).get("Raises", [])):
        error = (
            getattr(pvq, entry, None)
            or getattr(__builtins__, entry, None)
            or vars(__import__("builtins")).get(entry)
        )
        assert inspect.isclass(error), (name, entry)
        assert issubclass(error, Exception)


@pytest.mark.parametrize("name", CLASSES)
def test_classes_say_what_they_hold(name):
    cls = getattr(pvq, name)
    text = inspect.getdoc(cls)
    assert text, name
    listed = sections(text)
    for entry in entries([*listed.get("Parameters", []), *listed.get("Attributes", [])]):
        assert re.fullmatch(r"[a-z_]+ : \S.*", entry), (name, entry)
    if "Parameters" in listed:
        hints = typing.get_type_hints(cls.__init__)
        names = [entry.split(" : ")[0] for entry in entries(listed["Parameters"])]
        assert set(names) <= set(hints) | set(inspect.signature(cls).parameters), name
