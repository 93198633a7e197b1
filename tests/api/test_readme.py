"""The README's Python runs as it stands."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_snippet_runs(monkeypatch, capsys):
    text = (ROOT / "README.md").read_text()
    snippet = next(code for code in re.findall(r"```python\n(.*?)```", text, re.S) if "import pvq\n" in code)
    monkeypatch.chdir(ROOT)
    exec(compile(snippet, "README.md", "exec"), {})
    out = capsys.readouterr().out
    assert "optimal" in out
    assert "Interval(min=" in out
    assert "weights are not on the grid" in out
