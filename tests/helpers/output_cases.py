"""Commands with an output each, on a small layer, model, run or network, made when it is needed."""

import json
import shutil

import numpy as np
import pvq
from pvq.layers.format import Layer, save_layer
from safetensors.numpy import save_file

BOUND = ("bound", "LAYER", "--method", "quant", "--bits", "2")
CURVE = ("bound", "LAYER", "--method", "prune", "--sparsity", "0.2:0.6:0.2")
COMPARE = ("compare", "LAYER", "--bits", "8:8")
WEIGHTS = ("weights", "MODEL", "--bits", "4:4")
THEORY = ("theory", "--dist", "normal", "--bits", "4:4")
KURTOSIS = ("theory", "--dist", "student-t:6", "--bits", "4:4")
VERIFY = ("verify", "PROOF", "LAYER")
BENCH = ("bench", "LIST")
STATUS = ("run", "status", "RUN")
EXPORT = ("run", "export", "RUN")
REPORT = ("report", "RUN")
SCORE = ("score", "LAYER", "OTHER")
ALLOCATE = ("allocate", "RECORD", "--bits", "8")
APPLY = ("apply", "made:model", "--results", "FOUND/model.quant8.npz")
APPLY_ALLOCATED = ("allocate", "NETWORK", "--bits", "8", "--apply", "made:model", "--results", "FOUND")
FINETUNE = ("finetune", "small_task:task", "--bits", "3", "--epochs", "1", "--rates", "0.05", "--folder", "TUNED")
EVALUATE = ("evaluate", "made:model", "--data", "DATA", "--original", "made:model")
OUTPUTS = [
    (BOUND, "--json", ".json"),
    (BOUND, "--solution", ".npz"),
    (BOUND, "--solution", ".safetensors"),
    (BOUND, "--certificate", ".npz"),
    (CURVE, "--json", ".json"),
    (COMPARE, "--json", ".json"),
    (COMPARE, "--table", ".md"),
    (COMPARE, "--figure", ".svg"),
    (WEIGHTS, "--json", ".json"),
    (WEIGHTS, "--csv", ".csv"),
    (WEIGHTS, "--figure", ".png"),
    (THEORY, "--json", ".json"),
    (THEORY, "--figure", ".svg"),
    (KURTOSIS, "--figure-kurtosis", ".svg"),
    (VERIFY, "--json", ".json"),
    (BENCH, "--json", ".json"),
    (BENCH, "--csv", ".csv"),
    (BENCH, "--profile", ".svg"),
    (BENCH, "--gap-plot", ".png"),
    (BENCH, "--tails", ".svg"),
    (STATUS, "--json", ".json"),
    (EXPORT, "--output", ".json"),
    (EXPORT, "--output", ".csv"),
    (EXPORT, "--output", ".parquet"),
    (REPORT, "--output", ".html"),
    (SCORE, "--json", ".json"),
    (SCORE, "--figure", ".svg"),
    (ALLOCATE, "--json", ".json"),
    (ALLOCATE, "--figure", ".svg"),
    (EVALUATE, "--json", ".json"),
    (APPLY, "--out", ".safetensors"),
    (APPLY_ALLOCATED, "--out", ".safetensors"),
    (FINETUNE, "--json", ".json"),
    (FINETUNE, "--table", ".md"),
    (FINETUNE, "--figure", ".png"),
]
INIT = ("run", "init", "--layers", "LAYERS", "--method", "quant", "--bits", "2")
EXTRACT = ("extract", "made:model", "--layer", "*", "--calibration", "x.npy", "--quiet")
APPLIED = ("apply", "made:model", "--results", "found", "--take", "quant:8", "--quiet")
ALLOCATED = ("allocate", "c.json", "--bits", "8", "--apply", "made:model", "--results", "found")
SAVED = ("compare", "LAYERS", "--bits", "8:8", "--quiet")
BOUND_IN_RUN = ("bound", "LAYERS", "--method", "quant", "--bits", "2", "--quiet")
TRAINED = ("finetune", "small_task:task", "--bits", "3", "--epochs", "1", "--quiet")
FOLDERS = [
    (INIT, "--"),
    (EXTRACT, "--out"),
    (APPLIED, "--out"),
    (ALLOCATED, "--out"),
    (SAVED, "--save-solutions"),
    (SAVED, "--ledger"),
    (BOUND_IN_RUN, "--ledger"),
    (TRAINED, "--folder"),
]
"""Commands that write a folder, and the option that names it; an argument comes after --."""
LOUD = {"theory", "verify", "run", "report"}
"""Commands without --quiet."""
SAYS = {
    BENCH: "unknown",
    VERIFY: "verified",
    STATUS: "2 of 2 rows",
    EXPORT: "",
    REPORT: "",
    EVALUATE: "outputs",
    ALLOCATE: "Within 8",
    APPLY: "certified error",
    APPLY_ALLOCATED: "Within 8",
    FINETUNE: "on test data",
}
"""What a command prints besides its files, else dB."""
READ = {
    WEIGHTS: "MODEL",
    BENCH: "LIST",
    STATUS: "RUN",
    EXPORT: "RUN",
    REPORT: "RUN",
    ALLOCATE: "RECORD",
    EVALUATE: "DATA",
    APPLY: "FOUND/model.quant8.npz",
    APPLY_ALLOCATED: "NETWORK",
    FINETUNE: "TUNED/finetune.json",
}
"""A file that a command reads, else the layer's."""
NAMES = {
    "LAYER": "l.npz",
    "MODEL": "m.safetensors",
    "PROOF": "p.npz",
    "LIST": "list.json",
    "RUN": "run",
    "RECORD": "record.json",
    "OTHER": "other.safetensors",
    "DATA": "data.npy",
    "NETWORK": "network.json",
    "FOUND": "found",
    "TUNED": "tuned",
}

CASES = {
    "schema": "pvq.cases/1",
    "about": "a solver that there is not, so that nothing runs",
    "cases": [
        {
            "name": "none",
            "layer": "efficientnet_lite0.blocks.4.expand",
            "rows": "0:1",
            "inputs": "0:6",
            "method": "prune",
            "sparsity": 0.5,
            "solvers": ["no-such-solver"],
        }
    ],
}


class Commands:
    """Runs a command on files in a folder."""

    def __init__(self, cli, folder, tuned):
        """`tuned` gives the folder of a comparison by `FINETUNE` that is done, to be copied."""
        self.cli, self.folder, self._tuned = cli, folder, tuned
        rng = np.random.default_rng(0)
        a = rng.standard_normal((30, 6))
        self.layer = Layer("l", rng.standard_normal((2, 6)), a.T @ a / 30)
        save_layer(self.path("LAYER"), self.layer)
        save_file({"a": rng.standard_normal((9, 9)).astype(np.float32)}, self.path("MODEL"))
        self.path("LIST").write_text(json.dumps(CASES))

    def path(self, word):
        """Of a word in capitals, or of what is below it."""
        name, _, below = word.partition("/")
        return self.folder / NAMES[name] / below

    def read(self, command):
        """A file that the command reads."""
        path = self.path(READ.get(command, "LAYER"))
        return path / "ledger.sqlite" if path.name == "run" else path

    def words(self, command):
        """The command's words; files that it needs are there."""
        words = [str(word) for word in command]
        for name in (word.partition("/")[0] for word in words):
            if name in NAMES and not self.path(name).exists():
                getattr(self, f"_make_{name.lower()}")(self.path(name))
        return [str(self.path(word)) if word.partition("/")[0] in NAMES else word for word in words]

    def __call__(self, command, *more):
        """How it ended."""
        quiet = () if command[0] in LOUD else ("--quiet",)
        return self.cli(*self.words(command), *more, *quiet)

    def _make_proof(self, path):
        assert self(BOUND, "--certificate", path).code == 0

    def _make_run(self, path):
        pvq.Ledger.create(path, self.path("LAYER"), "quant", bits=[2]).go(solver="bnb", time_limit=None)

    def _make_record(self, path):
        assert self(COMPARE, "--json", path).code == 0

    def _make_other(self, path):
        save_file({"l.weight": np.floor(self.layer.weight) + 0.5}, path)

    def _make_data(self, path):
        np.save(path, np.random.default_rng(1).standard_normal((5, 6)).astype(np.float32))

    def _make_network(self, path):
        data, layers = self.path("DATA"), self.folder / "layers"
        self._make_data(data)
        words = ("--layer", "*", "--calibration", data, "-o", layers, "--quiet")
        assert self.cli("extract", "made:model", *words).code == 0
        words = ("--bits", "8:8", "--save-solutions", self.path("FOUND"), "--json", path, "--quiet")
        assert self.cli("compare", layers, *words).code == 0

    def _make_found(self, path):
        self._make_network(self.path("NETWORK"))

    def _make_tuned(self, path):
        shutil.copytree(self._tuned(), path)
