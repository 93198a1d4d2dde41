"""Everything a user can turn, declared once: default, bounds and help; and how files and flags set it.

Order, later wins: defaults, `volsurface.toml` (or `--config`), flags, the page. An unknown section or key, a value of
the wrong type or out of bounds is refused at once with what was found and what is allowed.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import param
import tomli_w

from volsurface.errors import SettingsError, unknown_name
from volsurface.surface.options import MODELS, SVI_ONLY, WEIGHTINGS, FitOptions


class FitSettings(param.Parameterized):
    """How quotes become smiles; a change refits everything."""

    min_quotes = param.Integer(
        6, bounds=(3, 40), doc="An expiry with fewer strikes borrows its shape from a neighbour; under 3: no smile."
    )
    max_spread_points = param.Number(
        50.0, bounds=(1.0, 200.0), doc="Widest usable quote, ask vol minus bid vol, in vol points."
    )
    spread_floor_bp = param.Number(
        20.0,
        bounds=(0.0, 500.0),
        doc="Half-spreads below this many bp of vol count as this wide, so that one tight quote cannot own a smile.",
    )
    weighting: Any = param.Selector(
        default="spread", objects=list(WEIGHTINGS), doc="What a residual is measured in: half-spreads, vol, or price."
    )
    robust = param.Boolean(True, doc="Fit twice: the second time without quotes far outside the first fit.")
    outlier_spreads = param.Number(
        6.0, bounds=(1.0, 50.0), doc="A quote further than this many half-spreads from the first fit is dropped."
    )
    min_hours = param.Number(
        1.0,
        bounds=(0.01, 168.0),
        doc="An expiry nearer than this many hours gets no new smile: one tick is several vol points.",
    )
    stale_after_s = param.Number(
        60.0, bounds=(1.0, 3600.0), doc="Quotes this many seconds older than their expiry's median age leave the fit."
    )
    model: Any = param.Selector(
        default=SVI_ONLY,
        objects=list(MODELS),
        doc="SVI; a certified mixture of two SVI surfaces where nearer the quotes; or that only where more are inside.",
    )

    def options(self) -> FitOptions:
        """Return the frozen value that crosses into the pure rooms."""
        return FitOptions(
            min_quotes=self.min_quotes,
            max_spread=self.max_spread_points / 100,
            spread_floor=self.spread_floor_bp / 1e4,
            weighting=self.weighting,
            robust=self.robust,
            outlier_spreads=self.outlier_spreads,
            min_days=self.min_hours / 24,
            stale_after_s=self.stale_after_s,
            model=self.model,
        )


class ThresholdSettings(param.Parameterized):
    """What is too small or too old to act on."""

    forward_change_bp = param.Number(
        1.0,
        bounds=(0.0, 100.0),
        doc="An expiry's quotes are implied again when its forward, or time, could have moved a vol this many bp.",
    )
    vol_change_bp = param.Number(
        1.0,
        bounds=(0.0, 100.0),
        doc="An expiry is refitted when a quote's vol has moved this many bp since its last fit.",
    )
    publish_change_bp = param.Number(
        1.0,
        bounds=(0.0, 100.0),
        doc="A surface is published when a displayed vol has moved this many bp since the last one.",
    )
    stale_s = param.Number(
        10.0, bounds=(0.5, 600.0), doc="A venue or surface older than this many seconds is shown as stale."
    )
    step_ms = param.Integer(
        50,
        bounds=(10, 5000),
        doc="Between the beginnings of two steps of one coin, in milliseconds, while quotes change.",
    )
    audit_percent = param.Number(
        1.0, bounds=(0.0, 100.0), doc="Of the skipped work, how much is done exactly afterwards, to see the error."
    )


class DisplaySettings(param.Parameterized):
    """What the page does with it; costs the engine nothing."""

    frames_per_s = param.Number(5.0, bounds=(0.5, 20.0), doc="How often an open page is redrawn at most.")
    x_axis: Any = param.Selector(
        default="standardised",
        objects=["standardised", "log-moneyness", "delta", "strike"],
        doc="The smile's x axis: k / (ATM vol sqrt(T)), k = ln(K/F), call delta, or strike.",
    )
    surface_height: Any = param.Selector(
        default="vol", objects=["vol", "total variance"], doc="What the height of the surface shows."
    )


class MarketSettings(param.Parameterized):
    """Where quotes come from."""

    source: Any = param.Selector(
        default="simulated",
        objects=["simulated", "live", "replay"],
        doc="Simulated venues on this machine, real venues, or a recording.",
    )
    venues = param.List(
        default=["deribit", "okx", "bybit", "binance", "derive"], item_type=str, doc="Venues to connect to."
    )
    underlyings = param.List(default=["BTC", "ETH"], item_type=str, doc="Coins whose options are followed.")
    channels = param.List(default=["ticker", "book"], item_type=str, doc="Channels asked for per instrument.")
    rate = param.Number(
        1000.0, bounds=(1.0, 200000.0), doc="Messages per second of the simulated market, all venues together."
    )
    fast_lane = param.Boolean(
        False,
        doc="Split websocket frames ourselves: a third of the time each. It leans on undocumented parts of websockets 17.",
    )
    seed = param.Integer(1, bounds=(0, None), doc="Seed of the simulated market: the same seed gives the same market.")
    speed = param.Number(3600.0, bounds=(0.1, 1e6), doc="Market seconds per second when a recording is played.")


class HistorySettings(param.Parameterized):
    """What is kept on disk."""

    enabled = param.Boolean(True, doc="Write the history at all.")
    flush_s = param.Number(
        5.0, bounds=(0.5, 60.0), doc="Seconds between two segments; at most this much is lost at a kill."
    )
    max_gb = param.Number(10.0, bounds=(0.1, 10000.0), doc="Size at which the oldest whole days are removed.")


SECTIONS: dict[str, type[param.Parameterized]] = {
    "fit": FitSettings,
    "thresholds": ThresholdSettings,
    "display": DisplaySettings,
    "market": MarketSettings,
    "history": HistorySettings,
}

Values = dict[str, dict[str, Any]]


class Settings:
    """All sections together; `version` grows by one at each accepted change."""

    def __init__(self, values: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.fit = FitSettings()
        self.thresholds = ThresholdSettings()
        self.display = DisplaySettings()
        self.market = MarketSettings()
        self.history = HistorySettings()
        self.version = 0
        if values:
            self.update(values)

    def update(self, values: Mapping[str, Mapping[str, Any]], where: str = "settings") -> int:
        """Take `values` ({section: {name: value}}) all or not at all; return the new version.

        Raises SettingsError naming `where`, what was found and what is allowed; then nothing has changed.
        """
        before = self.values()
        try:
            for section, entries in values.items():
                self._update_section(section, entries, where)
        except SettingsError:
            self._restore(before)
            raise
        self.version += 1
        return self.version

    def _update_section(self, section: str, entries: Any, where: str) -> None:
        if section not in SECTIONS:
            raise SettingsError(f"{where}: {unknown_name('section', str(section), SECTIONS)}")
        if not isinstance(entries, Mapping):
            raise SettingsError(f"{where}: [{section}] must be a table of settings, found {entries!r}")
        target = getattr(self, section)
        names = setting_names(section)
        for name, value in entries.items():
            if name not in names:
                raise SettingsError(f"{where}: {unknown_name(f'setting in [{section}]', str(name), names)}")
            parameter = target.param[name]
            if isinstance(parameter, param.Number) and not isinstance(parameter, param.Boolean):
                if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
                    raise SettingsError(f"{where}: {section}.{name} must be a number, found {value!r}")
            try:
                setattr(target, name, value)
            except (ValueError, TypeError) as error:
                raise SettingsError(
                    f"{where}: {section}.{name} = {value!r} is refused; allowed: {allowed(parameter)}"
                ) from error

    def _restore(self, values: Values) -> None:
        for section, entries in values.items():
            getattr(self, section).param.update(**entries)

    def values(self) -> Values:
        """Return every setting as plain values, {section: {name: value}}."""
        return {
            section: {name: _plain(getattr(getattr(self, section), name)) for name in setting_names(section)}
            for section in SECTIONS
        }


def setting_names(section: str) -> list[str]:
    """Return the names of a section's settings, in the order they are declared."""
    return [name for name in SECTIONS[section].param if name != "name"]


def allowed(parameter: param.Parameter) -> str:
    """Return in words what a setting may be."""
    if isinstance(parameter, param.Selector):
        return ", ".join(map(str, parameter.objects))
    if isinstance(parameter, param.Boolean):
        return "true or false"
    if isinstance(parameter, param.Number):
        low, high = parameter.bounds or (None, None)
        kind = "a whole number" if isinstance(parameter, param.Integer) else "a number"
        return f"{kind} from {'any' if low is None else f'{low:g}'} to {'any' if high is None else f'{high:g}'}"
    if isinstance(parameter, param.List):
        return "a list of names"
    return "text"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def read_settings_file(path: Path) -> Values:
    """Read a TOML settings file or preset; raises SettingsError with the place of the mistake."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def write_settings_file(path: Path, values: Mapping[str, Mapping[str, Any]]) -> None:
    """Write settings as TOML; the reverse of `read_settings_file`."""
    path.write_text(tomli_w.dumps({section: dict(entries) for section, entries in values.items()}), encoding="utf-8")


def load_settings(
    data_folder: Path, config: Path | None = None, flags: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Return defaults overlaid with `config` (else `data_folder`/volsurface.toml when there is one) and then `flags`."""
    settings = Settings()
    path = config or data_folder / "volsurface.toml"
    if config is not None or path.exists():
        settings.update(read_settings_file(path), str(path))
    if flags:
        settings.update(flags, "command line")
    settings.version = 1
    return settings
