import numpy as np

from volsurface.simulator.quoting import round_down, round_up, target_quotes


def quotes(mark: float | np.ndarray, n: int = 1, **changes: object):
    mark = np.broadcast_to(np.asarray(mark, float), (n,)).copy()
    given = dict(vega=0.05, z=0.0, years=0.1, shade=0.0, luck=0.9) | changes
    columns = {name: np.broadcast_to(np.asarray(value, float), (n,)).copy() for name, value in given.items()}
    return target_quotes(mark, seconds=0.0, **columns)


def test_rounding_is_outward_and_on_the_ticks() -> None:
    units = np.array([0.0, 0.3, 12.7, 49.2, 50.0, 50.1, 54.9, 123.4, 125.0])
    assert round_down(units).tolist() == [0, 0, 12, 49, 50, 50, 50, 120, 125]
    assert round_up(units).tolist() == [0, 1, 13, 50, 50, 55, 55, 125, 125]


def test_the_true_price_lies_between_bid_and_ask() -> None:
    generator = np.random.default_rng(1)
    n = 5000
    mark = np.exp(generator.uniform(-9, 0, n))
    made = quotes(
        mark, n, vega=mark, z=generator.normal(0, 2, n), years=generator.uniform(0.002, 1, n),
        shade=generator.uniform(-0.95, 0.95, n), luck=generator.random(n),
    )  # fmt: skip
    both = (made.bid > 0) & (made.ask > 0)
    assert both.mean() > 0.6
    assert np.all(made.bid[both] < made.ask[both])
    assert np.all(made.bid[both] <= mark[both] * 1e4 + 1e-6) and np.all(mark[both] * 1e4 <= made.ask[both] + 1e-6)


def test_spreads_widen_towards_the_wings_and_towards_expiry() -> None:
    middle = quotes(0.2, vega=0.3)
    wing = quotes(0.2, vega=0.3, z=3.0)
    short = quotes(0.2, vega=0.3, years=1 / 365)
    widths = [int(q.ask[0] - q.bid[0]) for q in (middle, wing, short)]
    assert widths[0] < widths[1] and widths[0] < widths[2]


def test_a_price_below_one_tick_has_no_bid_and_an_ask_of_at_least_one() -> None:
    made = quotes(0.00003, vega=0.0001)
    assert made.bid[0] == 0 and made.ask[0] >= 1


def test_wings_miss_quotes_and_the_middle_does_not() -> None:
    n = 20_000
    luck = (np.arange(n) + 0.5) / n
    wing = quotes(0.1, n, z=2.5, luck=luck)
    assert 0.02 < ((wing.bid == 0) & (wing.ask == 0)).mean() < 0.04
    assert (wing.ask == 0).mean() > ((wing.bid == 0) & (wing.ask == 0)).mean()
    assert (wing.bid == 0).mean() > (wing.ask == 0).mean()
    middle = quotes(0.1, n, luck=luck)
    assert middle.bid.min() > 0 and middle.ask.min() > 0
