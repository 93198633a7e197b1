"""A whole comparison of a small task: what it trains, how it chooses, and going on in its folder."""

import threading

import pytest
import small_task
import torch
from pvq.benchmarks.finetune import pool, table, worker
from pvq.benchmarks.finetune.folder import Folder
from pvq.benchmarks.finetune.study import Study
from pvq.bounds.errors import ProblemError
from pvq.layers.format import LayerError

from faults import files_of_at_most, hidden

SOURCE = "small_task:task"


class Here:
    """A worker in this process."""

    is_alive, last_words = True, ""

    def __init__(self, threads, name):
        assert (threads, name) == (1, "pvq.benchmarks.finetune.worker")
        self._answers = []

    def send(self, order):
        try:
            say = lambda done: self._answers.append({"event": "epoch", "done": done})  # noqa: E731
            unkept = lambda why: self._answers.append({"event": "unkept", "why": why})  # noqa: E731
            result = worker.run(order, say, unkept)
            self._answers.append({"event": "result", "result": result})
        except Exception as error:
            self._answers.append({"event": "error", "why": str(error)})

    def receive(self, timeout):
        return self._answers.pop(0)

    def kill(self):
        pass


@pytest.fixture(autouse=True)
def here(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(pool, "Process", Here)
    yield
    torch.set_num_threads(threads)


def study(folder, **changed):
    words = {"bits": (2, 4), "seeds": 2, "rates": (0.1, 0.01), "epochs": 2} | changed
    return Study(SOURCE, small_task.task(), Folder.open(folder, SOURCE), **words)


def trained(one, stop=None):
    seen = []
    pool.run_studies(
        [one], stop or threading.Event(), on_epoch=lambda study, cell, done: seen.append((cell, done))
    )
    return seen


def test_a_comparison_from_its_cells_to_its_document(tmp_path):
    one = study(tmp_path / "run")
    seen = trained(one)
    assert len(seen) == one.epochs_in_all == 3 + 2 * 2 * (2 + 2 * 2 - 1)
    document = one.document()
    assert {(c["method"], c["bits"], c["seed"]) for c in document["cells"]} == {
        (method, bits, seed) for method in ("quant", "prune") for bits in (2, 4) for seed in (0, 1)
    }
    for method in ("quant", "prune"):
        tried = {t["rate"]: t["validation"] for t in document["trials"] if t["method"] == method}
        assert set(tried) == {0.1, 0.01}
        assert tried[document["rates"][method]] == max(tried.values())
    for cell in document["cells"]:
        assert cell["rate"] == document["rates"][cell["method"]]
        assert cell["weights"] == sum(layer["size"] for layer in cell["layers"]) == 54 + 108 + 72
        if cell["method"] == "prune":
            assert cell["storage_bits"] == sum(
                16 * (layer["size"] * cell["bits"] // 16) for layer in cell["layers"]
            )
        else:
            assert cell["storage_bits"] == cell["bits"] * cell["weights"]
        assert all(layer["activation_sqnr_db"] is not None for layer in cell["layers"])
    titles, lines = table.rows([document])
    assert titles == [
        "",
        "original",
        "4 bits quantized",
        "2 bits quantized",
        "4 bits pruned",
        "2 bits pruned",
    ]
    values = [c["test"] for c in document["cells"] if (c["method"], c["bits"]) == ("prune", 2)]
    found = table.entry(document, "prune", 2)
    assert found.mean == pytest.approx(sum(values) / 2)
    assert found.deviation == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert lines[0][-1] == f"{found.mean:.2f} ± {found.deviation:.2f}"
    assert table.markdown([document]).count("\n") == 3


def test_a_stopped_run_goes_on_and_gives_the_same(tmp_path):
    whole = study(tmp_path / "whole")
    trained(whole)
    stop = threading.Event()
    first = study(tmp_path / "parts")
    count = 0

    def epoch(study, cell, done):
        nonlocal count
        count += 1
        if count == 9:
            stop.set()

    pool.run_studies([first], stop, on_epoch=epoch)
    assert len(first.known) < len(whole.known)
    second = study(tmp_path / "parts")
    trained(second)
    assert second.document() == whole.document()


def test_what_is_finished_is_not_trained_again_and_more_bits_go_on(tmp_path):
    trained(study(tmp_path / "run", bits=(3, 4), seeds=1))
    again = study(tmp_path / "run", bits=(3, 4), seeds=1)
    seen = trained(again)
    assert len(seen) == 1 + 2 * (2 + 2 - 1)  # each cell is reported once, whole
    assert all(done == cell.epochs for cell, done in seen)
    wider = study(tmp_path / "run", bits=(3, 4, 2), seeds=1)
    assert len([1 for cell, done in trained(wider) if cell.bits == 2 and done < cell.epochs]) == 2


def test_two_comparisons_share_the_workers(tmp_path):
    """Networks come before rates, rates before the table, and one seed of all before the next."""
    first, second = (study(tmp_path / name, seeds=2, epochs=1) for name in ("first", "second"))
    second.source = "small_task:other"
    seen = []
    pool.run_studies(
        [first, second], threading.Event(), 1, lambda one, cell, done: seen.append((one.source, cell))
    )
    assert len({one for one in seen if one[1].method == "original"}) == 2
    assert {cell.method for _, cell in seen[:6]} == {"original"}
    tried = set(first.trials("quant")) | set(first.trials("prune"))
    assert {cell for _, cell in seen[6:14]} == tried
    table = [(cell.seed, cell.bits) for _, cell in seen[14:]]
    assert [seed for seed, _ in table] == sorted(seed for seed, _ in table)
    assert {source for source, _ in seen[14:16]} == {SOURCE}  # the first until it has nothing of this seed
    assert first.document()["cells"] == second.document()["cells"]
    assert len(first.document()["cells"]) == 8


def test_workers_wait_for_what_decides_on_the_next_cells(tmp_path):
    one = study(tmp_path / "run", seeds=1, epochs=1)
    pool.run_studies([one], threading.Event(), 3)
    assert len(one.document()["cells"]) == 4


def test_cells_of_another_original_do_not_count(tmp_path):
    one = study(tmp_path / "run", bits=(3,), seeds=1)
    trained(one)
    file = tmp_path / "run" / "original.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    cell = one.trials("quant")[0]
    assert one.folder.known(cell) is None


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(LayerError, match="has other files"):
        study(tmp_path)
    study(tmp_path / "run")
    with pytest.raises(LayerError, match="another comparison"):
        Folder.open(tmp_path / "run", "zoo:digits-vit")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "run"]


@pytest.mark.parametrize("changed", [{"bits": (1,)}, {"bits": (16,)}, {"seeds": 0}, {"rates": ()}, {"epochs": 0}])
def test_what_cannot_be_asked_is_refused(tmp_path, changed):
    with pytest.raises(ProblemError):
        study(tmp_path / "run", **changed)


def test_a_cell_that_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "run", lambda *order: 1 / 0)
    with pytest.raises(ProblemError, match="failed: division by zero"):
        trained(study(tmp_path / "run"))


def document(quant, prune, higher=True):
    cells = [{"method": m, "bits": 3, "test": v} for m, vs in (("quant", quant), ("prune", prune)) for v in vs]
    return {"cells": cells, "bits": [3], "higher_is_better": higher}


@pytest.mark.parametrize(
    ("quant", "prune", "higher", "who"),
    [
        ([90, 91], [80, 81], True, {3: "quant"}),
        ([90, 91], [80, 81], False, {3: "prune"}),
        ([80, 81], [90, 91], True, {3: "prune"}),
        ([80, 90], [81, 91], True, {3: "neither"}),
        ([90], [80], True, {}),
    ],
)
def test_a_method_is_ahead_only_beyond_the_deviations(quant, prune, higher, who):
    assert table.better(document(quant, prune, higher)) == who


SMALL = {"bits": (3,), "seeds": 1, "rates": (0.05,), "epochs": 2}


def test_a_checkpoint_without_room_is_said_once_and_the_training_goes_on(tmp_path, capsys):
    whole = study(tmp_path / "whole", **SMALL)
    seen = trained(whole)
    weights = max(path.stat().st_size for path in whole.folder.path.glob("*.safetensors"))
    tight = study(tmp_path / "tight", **SMALL)
    with files_of_at_most(weights + 200):  # a checkpoint has the optimizer's numbers as well
        assert trained(tight) == seen
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"cannot write {tight.folder.path}/")
    assert "checkpoint: File too large; the training goes on" in err
    assert tight.document() == whole.document()
    assert hidden(tight.folder.path) == []


def test_weights_without_room_end_it_in_one_line_and_it_goes_on_there(tmp_path):
    one = study(tmp_path / "one", **SMALL)
    with files_of_at_most(300), pytest.raises(ProblemError, match=r"failed: .*safetensors: File too large"):
        trained(one)
    assert hidden(one.folder.path) == []
    assert not list(one.folder.path.glob("*.safetensors"))
    trained(one)
    assert len(one.known) == 3
