"""Sizes that users write: what they come to, and what is said of those that are none."""

from __future__ import annotations

from typing import Any

import pytest

from nnprof.base.quantities import CARD, PLAIN, bytes_of, looks_like_size
from nnprof.errors import InputError
from nnprof.fitting.gpu import gpu_of, is_size

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "plain", "card"),
    [
        ("24GB", 24 * 10**9, 24 * GIB),
        ("24GiB", 24 * GIB, 24 * GIB),
        (" 1.5 gb ", 1_500_000_000, 3 * GIB // 2),
        ("512MB", 512 * 10**6, GIB // 2),
        ("512 MiB", GIB // 2, GIB // 2),
        ("+2tib", 2048 * GIB, 2048 * GIB),
        ("1TB", 10**12, 1024 * GIB),
    ],
)
def test_a_budget_is_of_bytes_and_a_card_of_gib(text: str, plain: int, card: int) -> None:
    assert looks_like_size(text)
    assert bytes_of("budget", text) == plain
    assert bytes_of("hardware", text, CARD) == card
    assert gpu_of(text).memory_bytes == card


@pytest.mark.parametrize("count", [1, 1234.4, 5e9])
def test_a_number_is_of_bytes(count: float) -> None:
    assert bytes_of("budget", count) == round(count)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("24", "budget='24' is a size without a unit: write '24GB'"),
        ("24 GX", "budget='24 GX': 'GX' is none of the units MB, GB, TB, MiB, GiB, TiB"),
        ("24G", "budget='24G': 'G' is none of the units"),
        ("lots", "budget='lots' is no size: write it like '24GB'"),
        ("nanGB", "budget='nanGB' is no size"),
        ("", "budget='' is no size"),
        ("1,5GB", "budget='1,5GB' is no size"),
        ("-24GB", "budget='-24GB' must be more than 0 bytes"),
        ("0GB", "must be more than 0 bytes"),
        ("9" * 400 + "GB", "must be more than 0 bytes, and finite"),
        (-5, "budget=-5 must be more than 0 bytes"),
        (0.2, "must be more than 0 bytes"),
        (float("nan"), "budget=nan must be more than 0 bytes"),
        (float("inf"), "budget=inf must be more than 0 bytes, and finite"),
        (None, "budget=None must be a size such as '24GB', or a number of bytes"),
        ([24], "must be a size such as"),
    ],
)
@pytest.mark.parametrize("units", [PLAIN, CARD])
def test_says_what_is_wrong_with_a_size(size: Any, message: str, units: dict[str, int]) -> None:
    with pytest.raises(InputError) as raised:
        bytes_of("budget", size, units)
    assert message in str(raised.value)


def test_the_name_of_a_device_is_no_size() -> None:
    assert not is_size("4090")
    assert gpu_of("3090").name == "rtx-3090"
    assert is_size("4090GB")
    assert gpu_of("512MB").name == "0.5GB"
