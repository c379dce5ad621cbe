"""The order of an epoch is a pure function of rows, seed and epoch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.data.order import EpochBatches, SampleRef, balanced_order, epoch_order, keys_of, keys_of_rows
from imagekit.errors import ConfigError


@settings(deadline=None)
@given(n_rows=st.integers(0, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_an_order_is_a_permutation_and_comes_back_the_same(n_rows, seed, epoch):
    order = epoch_order(n_rows, seed=seed, epoch=epoch)

    assert sorted(order.tolist()) == list(range(n_rows))
    assert order.equal(epoch_order(n_rows, seed=seed, epoch=epoch))


def test_each_epoch_and_each_seed_has_its_own_order():
    orders = [epoch_order(50, seed=seed, epoch=epoch).tolist() for seed in range(3) for epoch in range(3)]

    assert len({tuple(order) for order in orders}) == 9


def test_the_order_of_ten_rows_never_changes():
    # golden: resumed runs and published accuracies depend on it
    assert epoch_order(10, seed=0, epoch=0).tolist() == [0, 5, 1, 3, 4, 8, 7, 2, 9, 6]
    assert epoch_order(10, seed=7, epoch=3).tolist() == [1, 0, 6, 4, 9, 8, 5, 3, 7, 2]


def test_the_order_does_not_touch_the_global_generator():
    before = torch.random.get_rng_state()

    epoch_order(10, seed=0, epoch=0)

    assert torch.random.get_rng_state().equal(before)


def test_ten_rows_in_threes_give_batches_of_3_3_3_1():
    batches = EpochBatches(10, batch_size=3, seed=0, shuffle=False)

    rows = [[ref.row for ref in batch] for batch in batches]

    assert rows == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert len(batches) == 4


def test_batches_carry_their_epoch_and_every_row_once():
    batches = EpochBatches(10, batch_size=4, seed=1, shuffle=True)
    batches.epoch = 5

    refs = [ref for batch in batches for ref in batch]

    assert sorted(refs) == [SampleRef(5, row) for row in range(10)]
    assert [ref.row for ref in refs] == epoch_order(10, seed=1, epoch=5).tolist()


@settings(deadline=None, max_examples=50)
@given(
    counts=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    n_without=st.integers(0, 3),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 100),
)
def test_in_a_balanced_epoch_every_class_comes_equally_often(counts, n_without, seed, epoch):
    targets_N = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)] + [-1] * n_without)

    rows_M, copies_M = balanced_order(targets_N, seed=seed, epoch=epoch)

    quota = -(-sum(counts) // len(counts))
    assert torch.bincount(targets_N[rows_M], minlength=len(counts)).tolist() == [quota] * len(counts)
    assert len(set(zip(rows_M.tolist(), copies_M.tolist(), strict=True))) == len(rows_M)  # no draw comes twice
    assert rows_M.equal(balanced_order(targets_N, seed=seed, epoch=epoch)[0])


def test_no_image_comes_again_before_all_others_of_its_class_have_come():
    targets_N = torch.tensor([0] * 7 + [1] * 2)

    rows = [row for epoch in range(7) for row in balanced_order(targets_N, seed=3, epoch=epoch)[0].tolist()]

    # seven epochs of five each: five times round through seven, and 17 and a half times through two
    assert {rows.count(row) for row in range(7)} == {5}
    assert {rows.count(row) for row in (7, 8)} <= {17, 18}


def test_the_balanced_order_of_five_rows_never_changes():
    # golden: resumed runs depend on it
    rows_M, copies_M = balanced_order(torch.tensor([0, 0, 0, 0, 1]), seed=0, epoch=1)

    assert (rows_M.tolist(), copies_M.tolist()) == ([0, 0, 4, 4, 2, 4], [0, 1, 0, 1, 1, 2])


def test_a_row_that_comes_again_has_other_draws():
    first, again = keys_of([SampleRef(0, 4, 0), SampleRef(0, 4, 1)], seed=0).tolist()

    assert first != again
    assert first == int(keys_of([SampleRef(0, 4)], seed=0))


def test_balanced_batches_are_counted_rightly_and_cut_as_others_are():
    batches = EpochBatches(5, batch_size=4, seed=0, shuffle=True, balance_by=torch.tensor([0, 0, 0, 0, 1]))

    assert len(batches) == 2
    assert [len(batch) for batch in batches] == [4, 2]


def test_without_shuffling_nothing_is_balanced():
    batches = EpochBatches(3, batch_size=3, seed=0, shuffle=False, balance_by=torch.tensor([0, 0, 1]))

    assert list(batches) == [[SampleRef(0, 0), SampleRef(0, 1), SampleRef(0, 2)]]


def test_without_a_class_nothing_can_be_balanced():
    with pytest.raises(ConfigError) as caught:
        balanced_order(torch.tensor([-1, -1]), seed=0, epoch=0)

    assert str(caught.value) == (
        "no row has a class to balance by\n  where: balanced_order\n  fix: balance a set whose rows have labels"
    )


@settings(deadline=None, max_examples=30)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 2**39), st.integers(0, 2**20)), max_size=5),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
)
def test_keys_of_rows_are_those_of_their_refs(pairs, seed, epoch):
    rows_B, copies_B = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T

    keys_B = keys_of_rows(rows_B, copies_B, seed=seed, epoch=epoch)

    assert keys_B.equal(keys_of([SampleRef(epoch, row, copy) for row, copy in pairs], seed=seed))
    assert len(set(keys_B.tolist())) == len(set(pairs))


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 20),
    batch_size=st.integers(1, 7),
    shuffle=st.booleans(),
    balance=st.booleans(),
    epoch=st.integers(0, 9),
)
def test_batches_are_slices_of_the_order_of_their_epoch(n, batch_size, shuffle, balance, epoch):
    balance_by = torch.arange(n) % 3 if balance else None
    batches = EpochBatches(n, batch_size=batch_size, seed=2, shuffle=shuffle, balance_by=balance_by)
    batches.epoch = epoch

    got = list(batches)

    rows_M, copies_M = batches.order(epoch)
    refs = [SampleRef(epoch, row, copy) for row, copy in zip(rows_M.tolist(), copies_M.tolist(), strict=True)]
    assert got == [refs[i : i + batch_size] for i in range(0, len(refs), batch_size)]
    assert (len(batches), batches.n_samples) == (len(got), len(refs))
