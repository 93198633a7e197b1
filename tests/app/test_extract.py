"""`pvq extract` from the command line; what it computes is tested in tests/layers."""

import pytest


def test_all_matching_layers_are_written_in_one_pass(cli, tmp_path):
    words = ("zoo:efficientnet-lite0", "--layer", "_blocks.1?._depthwise_conv", "--calibration", "zoo:photos")
    ended = cli("extract", *words, "--limit", "2", "--batch-size", "2", "-o", tmp_path)
    assert ended.code == 0, ended.err
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [f"efficientnet_lite0.blocks.{i}.depthwise.npz" for i in range(10, 16)]
    assert sorted(line.rsplit("/")[-1] for line in ended.out.split()) == written
    assert "batch 1 of 1" in ended.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("zoo:efficientnet-lite0", "--layer", "no_such_*", "--calibration", "zoo:photos"), "_conv_stem"),
        (("zoo:efficientnet-lite0", "--layer", "*", "--calibration", "no/such/folder"), "no/such/folder"),
        (("zoo:no-such-model", "--layer", "*", "--calibration", "zoo:photos"), "no-such-model"),
        (("no.such.module:f", "--layer", "*", "--calibration", "zoo:photos"), "no.such"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(cli, tmp_path, words, says):
    ended = cli("extract", *words, "-o", tmp_path / "out", "--quiet")
    assert ended.code == 2
    assert len(ended.err.strip().splitlines()) == 1
    assert says in ended.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
