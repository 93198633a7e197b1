"""The wheel and the source archive: built, installed outside of the checkout, used as a stranger would.

python tests/helpers/distributions.py python3.11 python3.12 ...    # `make dist`: every dependency from the index
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAYER = "efficientnet_lite0.blocks.4.expand.npz"
PROGRAM = """
from importlib.metadata import version
from pathlib import Path
import pvq, pvq.benchmarks
assert pvq.__version__ == version("pvq-bound")
folder = Path(pvq.benchmarks.__file__).parent
assert folder.is_relative_to(Path(__import__("sys").prefix).resolve()), folder
layer = pvq.load_layer(folder / "instances" / "LAYER")
found = pvq.bound(layer, pvq.Quant(bits=4), rows=(0, 2), inputs=(0, 4), solver="SOLVER", methods=())
assert found.is_optimal and 0 < found.lower <= found.upper, found
print(pvq.__version__, found)
"""


def run(command, **words):
    """What a command printed; its whole output is the message where it fails."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    words = {"env": clean, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **words}
    ended = subprocess.run([str(word) for word in command], **words)
    if ended.returncode:
        raise AssertionError(f"{command} ended with {ended.returncode}:\n{ended.stdout}")
    return ended.stdout


def build(folder: Path) -> list[Path]:
    """Wheel and source archive of this checkout, made without a single warning."""
    source = folder / "source"
    names = run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT).splitlines()
    for name in names:
        if (ROOT / name).is_file():  # not what was deleted and not yet committed
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    said = run([sys.executable, "-m", "build", "--outdir", folder / "dist", source])
    warnings = [line for line in said.splitlines() if "warning" in line.lower()]
    if warnings:
        raise AssertionError("\n".join(warnings))
    return sorted((folder / "dist").iterdir())


def environment(folder: Path) -> Path:
    """The Python of a new environment that sees the packages of this one, but not this checkout."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    inside = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    outside = [path for path in sys.path if Path(path).name == "site-packages"]
    (inside / "outside.pth").write_text("\n".join(outside) + "\n")  # .pth files in there are not read
    return python


def use(python: Path, folder: Path, solver: str) -> str:
    """Run the commands and a bound from an empty folder; what the bound printed."""
    for command in ("pvq-bound", "pvq"):
        assert "Usage" in run([python.parent / command, "--help"], cwd=folder)
    program = PROGRAM.replace("LAYER", LAYER).replace("SOLVER", solver)
    return run([python, "-W", "error", "-c", program], cwd=folder)


def main(pythons: list[str]) -> None:
    """Build, then install and use both archives under each Python that is there."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archives = build(folder)
        for python in pythons:
            if subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode:
                print(f"{python}: not installed here, skipped", flush=True)
                continue
            for archive in archives:
                place = folder / f"{Path(python).name}-{archive.suffix}"
                run([python, "-m", "venv", place])
                run([place / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", archive])
                print(
                    f"{python}, {archive.name}: {use(place / 'bin' / 'python', folder, 'auto')}",
                    end="",
                    flush=True,
                )
        target = ROOT / "dist"
        target.mkdir(exist_ok=True)
        for archive in archives:
            shutil.copy(archive, target)


if __name__ == "__main__":
    main(sys.argv[1:])
