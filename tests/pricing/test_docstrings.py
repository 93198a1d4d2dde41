"""The examples in the docstrings of the pricing functions give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("name", ["arguments", "black76", "greeks", "implied_vol"])
def test_examples(name: str) -> None:
    module = importlib.import_module(f"volsurface.pricing.{name}")
    failed, attempted = doctest.testmod(module)
    assert attempted
    assert not failed
