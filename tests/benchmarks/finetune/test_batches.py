"""Batches of tensors: every row once, in an order that the generator decides."""

import torch
from pvq.benchmarks.finetune.batches import Batches, batches_of
from pvq.benchmarks.finetune.train import seed_all


def rows_of(batches):
    return [batch[0].tolist() for batch in batches]


def test_rows_come_in_order_and_the_rest_at_the_end():
    given = torch.arange(7), 10 * torch.arange(7)
    batches = Batches(given, 3)
    assert len(batches) == 3
    assert rows_of(batches) == [[0, 1, 2], [3, 4, 5], [6]]
    assert [batch[1].tolist() for batch in batches][2] == [60]


def test_shuffled_batches_are_whole_and_follow_the_seed():
    batches = batches_of([(torch.arange(11),)] * 3, 3, 4)[0]
    assert len(batches) == 3
    orders = []
    for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0)):
        seed_all(seed, epoch, batches)
        found = rows_of(batches)
        assert [len(rows) for rows in found] == [3, 3, 3]
        assert len(set(sum(found, []))) == 9  # noqa: RUF017
        orders.append(found)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != orders[3]
