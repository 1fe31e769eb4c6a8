"""Blocks as a memory option on an H100: 5x64 in the memory of a block, whatever the number of examples."""

from gpu.gradients import NARROW, Case, by_hand

MANY, BLOCK = 1_048_576, 65_536


def megabytes(m: int, block_size: int | str | None) -> float:
    return by_hand(Case(NARROW, m), block_size=block_size).temp_bytes / 1e6


def test_memory_of_a_block():
    at_once, in_blocks = megabytes(MANY, None), megabytes(MANY, BLOCK)
    assert at_once > 1_380 and in_blocks < 105
    assert megabytes(16 * MANY, BLOCK) < 1.01 * in_blocks


def test_auto_takes_blocks_beyond_10_gigabytes():
    most = 10**10 // (4 * (4 * 64 + 10 + 64))
    assert megabytes(most, "auto") > 10_000
    assert megabytes(most + 1, "auto") == megabytes(most + 1, BLOCK) < 110
