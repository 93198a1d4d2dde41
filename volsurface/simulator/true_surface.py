"""The surface behind the simulated market: known at every instant, free of arbitrage by construction, moving.

Each expiry is an extended SSVI slice in the global parametrisation of Mingone (arXiv:2204.00312), which admits exactly
the surfaces that satisfy the sufficient conditions for no butterfly and no calendar arbitrage. Level, term structure,
skew and curvature follow bounded walks; whatever they ask for is mapped into that parametrisation, so no instant can
have arbitrage. Slices are handed out as raw SVI parameters (a, b, rho, m, sigma).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volsurface.errors import VenueError, unknown_name
from volsurface.simulator.walk import Factor, Walks

NS_PER_YEAR = 365 * 86400 * 1_000_000_000
INTERIOR = 1e-3  # how far c of the parametrisation stays from 0 and 1, where two slices would touch


@dataclass(frozen=True, slots=True)
class Profile:
    """What one underlying looks like on average, and how much it moves.

    spot: quote currency per coin. atm_short, atm_long: at-the-money vol at zero and at infinite tenor, per year.
    rho_short, rho_long: correlation parameter of the smile, likewise. wing: psi / sqrt(theta), the steepness of the wings
    in standard deviations (below about 1.6 the parametrisation never has to cut it). basis: forward premium per year.
    """

    underlying: str
    index_name: str
    spot: float
    spot_vol: float
    atm_short: float
    atm_long: float
    rho_short: float
    rho_long: float
    wing: float
    basis: float


PROFILES = {
    "BTC": Profile("BTC", "btc_usd", 84_000.0, 0.45, 0.47, 0.50, -0.22, -0.12, 1.15, 0.045),
    "ETH": Profile("ETH", "eth_usd", 2_850.0, 0.62, 0.60, 0.63, -0.10, -0.06, 1.15, 0.035),
}
ATM_TENOR_YEARS = 0.12  # over which the vol term structure goes from short to long
RHO_TENOR_YEARS = 0.25

SPOT, LEVEL, TILT, SKEW, WING, BASIS = range(6)
SPOT_VOL_COUPLING = -0.5  # of the log vol level to the log spot


def profile(underlying: str) -> Profile:
    """Return the profile of an underlying; raises VenueError naming those that exist."""
    if underlying not in PROFILES:
        raise VenueError(unknown_name("simulated underlying", underlying, PROFILES))
    return PROFILES[underlying]


@dataclass(frozen=True, slots=True, eq=False)
class TrueSmiles:
    """The true surface of one underlying at `time_ns`; arrays have shape (n_expiries,), nearest expiry first.

    years: ACT/365 to each expiry. forward: quote currency per coin. a, b, rho, m, sigma: raw SVI total variance
    w(k) = a + b (rho (k - m) + sqrt((k - m)^2 + sigma^2)), k = ln(strike / forward).
    """

    underlying: str
    time_ns: int
    spot: float
    expiry_ns: np.ndarray
    years: np.ndarray
    forward: np.ndarray
    a: np.ndarray
    b: np.ndarray
    rho: np.ndarray
    m: np.ndarray
    sigma: np.ndarray

    def total_variance(self, row: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Return w of the expiries `row` (indices) at log-moneyness `k`; the two broadcast."""
        shifted = k - self.m[row]
        root = np.sqrt(shifted * shifted + self.sigma[row] ** 2)
        return self.a[row] + self.b[row] * (self.rho[row] * shifted + root)

    def vol(self, row: np.ndarray, strike: np.ndarray) -> np.ndarray:
        """Return the vol (decimal per year) of the expiries `row` (indices) at `strike`; the two broadcast."""
        k = np.log(strike / self.forward[row])
        return np.sqrt(self.total_variance(row, k) / self.years[row])

    def atm_vol(self, years: float) -> float:
        """Return the at-the-money-forward vol at a tenor, linear between expiries and flat beyond them."""
        rows = np.arange(self.years.size)
        return float(np.interp(years, self.years, self.vol(rows, self.forward)))


class TrueSurface:
    """One underlying's true surface: a function of the seed, the instant and the expiries asked for."""

    def __init__(self, underlying: str, seed: int) -> None:
        self.profile = profile(underlying)
        self.seed = seed
        generator = np.random.default_rng([seed, *underlying.encode()])
        self._walks = Walks(
            [
                Factor(self.profile.spot_vol, 0.20, 60.0),
                Factor(0.90, 0.10, 20.0),
                Factor(0.60, 0.08, 10.0),
                Factor(0.60, 0.12, 10.0),
                Factor(0.60, 0.12, 10.0),
                Factor(0.10, 0.03, 20.0),
            ],
            generator,
        )

    def spot(self, now_ns: int) -> float:
        """Return the spot index at `now_ns`, quote currency per coin."""
        return self.profile.spot * math.exp(self._walks.at(now_ns)[SPOT])

    def at(self, now_ns: int, expiries_ns: Sequence[int]) -> TrueSmiles:
        """Return the surface at `now_ns` for `expiries_ns`, ascending and all later than `now_ns`."""
        p = self.profile
        x = self._walks.at(now_ns)
        expiry_ns = np.array(expiries_ns, dtype=np.int64)
        years = (expiry_ns - now_ns) / NS_PER_YEAR
        near = np.exp(-years / ATM_TENOR_YEARS)
        atm = p.atm_long + (p.atm_short - p.atm_long) * near
        atm = atm * np.exp(x[LEVEL] + SPOT_VOL_COUPLING * x[SPOT] * near + x[TILT] * (near - 0.5))
        rho = p.rho_long + (p.rho_short - p.rho_long) * np.exp(-years / RHO_TENOR_YEARS) + x[SKEW]
        theta, psi = essvi(atm * atm * years, rho, p.wing * math.exp(x[WING]))
        spot = p.spot * math.exp(x[SPOT])
        root = np.sqrt(1.0 - rho * rho)
        return TrueSmiles(
            underlying=p.underlying,
            time_ns=now_ns,
            spot=spot,
            expiry_ns=expiry_ns,
            years=years,
            forward=spot * np.exp((p.basis + x[BASIS]) * years),
            a=0.5 * theta * (1.0 - rho * rho),
            b=0.5 * psi,
            rho=rho,
            m=-rho * theta / psi,
            sigma=root * theta / psi,
        )


def essvi(atm_variance: np.ndarray, rho: np.ndarray, wing: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (theta, psi) of an eSSVI surface near the wish `atm_variance`, `psi = wing sqrt(theta)`, free of arbitrage.

    Arrays have shape (n,), nearest expiry first. The slice is w = (theta + rho psi k + sqrt((psi k + theta rho)^2 +
    theta^2 (1 - rho^2))) / 2. Mingone's free parameters, with p_i = max((1+rho_{i-1})/(1+rho_i), (1-rho_{i-1})/(1-rho_i)):

        theta_i = theta_{i-1} p_i + a_i, a_i >= 0
        psi_i = A_i + c_i (C_i - A_i), 0 < c_i < 1, A_i = psi_{i-1} p_i
        C_i = min(psi_{i-1} theta_i / theta_{i-1}, min_{j>=i} f_j / (p_{i+1} ... p_j))
        f_j = min(4 / (1+|rho_j|), 2 sqrt(theta_j / (1+|rho_j|)))

    A wish outside the admitted range becomes the nearest value `INTERIOR` inside it.
    """
    n = rho.size
    growth = np.ones(n)  # p_i
    if n > 1:
        growth[1:] = np.maximum((1 + rho[:-1]) / (1 + rho[1:]), (1 - rho[:-1]) / (1 - rho[1:]))
    theta = np.array(atm_variance)
    for i in range(1, n):
        theta[i] = max(theta[i], theta[i - 1] * growth[i] * (1.0 + INTERIOR))
    steepest = 1.0 + np.abs(rho)
    f = np.minimum(4.0 / steepest, 2.0 * np.sqrt(theta / steepest))
    ceiling = f.copy()  # min over j >= i of f_j / (p_{i+1} ... p_j)
    for i in range(n - 2, -1, -1):
        ceiling[i] = min(f[i], ceiling[i + 1] / growth[i + 1])
    psi = np.empty(n)
    for i in range(n):
        low = psi[i - 1] * growth[i] if i else 0.0
        high = min(psi[i - 1] * theta[i] / theta[i - 1], ceiling[i]) if i else ceiling[i]
        span = max(high - low, 0.0)  # rounding can close it where the correlations of neighbours are far apart
        psi[i] = min(max(wing * math.sqrt(theta[i]), low + INTERIOR * span), low + (1.0 - INTERIOR) * span)
    return theta, psi
