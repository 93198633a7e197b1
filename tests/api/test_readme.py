"""The README's Python runs as it stands, and its links lead somewhere."""

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


def test_it_is_short_and_its_links_lead_somewhere():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 120
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
