"""What the surface API answers: one table of operations and the records they return; routes and descriptions come from it.

Names of fields never change their meaning within a version; new ones may be added. Times are ISO 8601 with `Z`, vols are
fractions, a number that is not there is null.
"""

from typing import Any, Literal, NamedTuple

from msgspec import UNSET, Struct, UnsetType

VERSION = "v1"
ROOT = f"/api/{VERSION}"
STREAM = ROOT + "/stream/{underlying}"
# Cookie users and programs on this machine; a token has its own.
REQUESTS_PER_S, STREAMS = 50.0, 2000
MAX_QUERY = 8_000  # characters after the question mark
MAX_STRIKES = 500
MAX_MESSAGE = 256  # bytes of what a reader of a stream may say
RESYNC = "resync"


class Strict(Struct, forbid_unknown_fields=True, kw_only=True):
    """A record without other fields than its own: a test decodes every answer into it."""


class VerdictRecord(Strict):
    """Whether there is arbitrage anywhere: `verdict` is "ok", "violated" or "undecided"; worst at k, with this margin."""

    verdict: str
    k: float | None
    margin: float | None
    exact: bool
    interval: list[float | None] | None


class CertificateRecord(Strict):
    """Verdicts per smile (butterfly) and per pair of neighbours (calendar), nearest first; `ok` when all are."""

    ok: bool
    butterfly: list[VerdictRecord]
    calendar: list[VerdictRecord]


class SmileRecord(Strict):
    """One fitted expiry; the parameters stand under the name of their model."""

    expiry: str
    years: float
    forward: float
    forward_source: str
    model: str
    n_quotes: int
    n_rejected: int
    inside_spread: float
    rmse_bp: float
    max_error_bp: float
    state: str
    quote_time: str
    fit_time: str
    method: str
    quoted_k: list[float] | None
    svi: dict[str, float] | UnsetType = UNSET
    mixture: dict[str, float] | UnsetType = UNSET


class SurfaceRecord(Strict):
    """A surface with its certificate, as `volsurface fit --json` writes it."""

    underlying: str
    valuation_time: str
    state: str
    state_reason: str
    smiles: list[SmileRecord]
    certificate: CertificateRecord


class PublicationRecord(Strict):
    """Which publication an answer belongs to."""

    version: str
    underlying: str
    surface_id: int
    published: str
    market_time: str
    spot: float | None
    digest: str


class SurfaceAnswer(PublicationRecord):
    """The newest surface."""

    surface: SurfaceRecord


class Points(Strict):
    """The smile at strikes: vols, and the risk-neutral density per unit of strike."""

    strike: list[float]
    k: list[float]
    vol: list[float]
    density: list[float | None]


class MetricsRecord(Strict):
    """What a trader reads off one tenor; `region` says whether it is an expiry ("node"), between two or beyond."""

    days: float
    years: float
    region: str
    atm_vol: float | None
    skew: float | None
    curvature: float | None
    rr25: float | None
    bf25: float | None
    rr10: float | None
    bf10: float | None


class ExpiryMetrics(MetricsRecord):
    """The metrics of a listed expiry."""

    expiry: str
    forward: float
    state: str


class SmileAnswer(PublicationRecord):
    """One smile, evaluated."""

    smile: SmileRecord
    metrics: MetricsRecord
    points: Points


class MetricsAnswer(PublicationRecord):
    """Metrics of every expiry and of constant tenors (linear in total variance at fixed k)."""

    expiries: list[ExpiryMetrics]
    tenors: list[MetricsRecord]


class QuoteColumns(Strict):
    """One entry per quote in every column, by expiry, then strike; `reason` is "used" or why it is no point of the fit."""

    expiry: list[str]
    strike: list[float]
    right: list[str]
    venue: list[str]
    k: list[float | None]
    bid: list[float | None]
    ask: list[float | None]
    bid_size: list[float | None]
    ask_size: list[float | None]
    bid_vol: list[float | None]
    ask_vol: list[float | None]
    mid_vol: list[float | None]
    fit_vol: list[float | None]
    residual_bp: list[float | None]
    reason: list[str]
    quote_time: list[str]


class QuotesAnswer(PublicationRecord):
    """The quotes beside the fit, as columns."""

    columns: QuoteColumns


class UnderlyingRecord(Strict):
    """An underlying: `state` is that of its surface, or "waiting" before there is one, when the rest is null."""

    underlying: str
    state: str
    surface_id: int | None
    published: str | None
    age_s: float | None
    expiries: list[str]


class UnderlyingsAnswer(Strict):
    """What there is to ask for."""

    version: str
    source: str
    underlyings: list[UnderlyingRecord]


class DiagnosticsAnswer(Strict):
    """What the engine says of itself, the settings in force, and the last events."""

    version: str
    connected: bool
    error: str
    source: str
    status: dict[str, Any]
    settings: dict[str, dict[str, Any]]
    settings_version: int
    events: list[dict[str, Any]]


class ErrorAnswer(Strict):
    """Why there is no answer: `error` is a sentence that says what was found and what is allowed."""

    status: int
    error: str


class Parameter(NamedTuple):
    """A part of a request: `type` is JSON schema's."""

    name: str
    where: str
    type: str
    text: str


class Operation(NamedTuple):
    """One GET: name, path under ROOT, what it returns; table: also as Arrow."""

    name: str
    path: str
    summary: str
    parameters: tuple[Parameter, ...]
    answer: type[Strict] | None
    table: bool = False


_UNDERLYING = Parameter("underlying", "path", "string", "coin, as /underlyings lists it")
_FORMAT = Parameter("format", "query", "string", "json (default) or arrow, an Arrow IPC stream (needs pyarrow)")
OPERATIONS = (
    Operation("underlyings", "/underlyings", "What there is to ask for", (), UnderlyingsAnswer),
    Operation(
        "surface",
        "/surface/{underlying}",
        "Newest surface with its certificate; as Arrow: one row per smile",
        (_UNDERLYING, _FORMAT),
        SurfaceAnswer,
        True,
    ),
    Operation(
        "smile",
        "/smile/{underlying}/{expiry}",
        "One smile with its metrics, evaluated at strikes",
        (
            _UNDERLYING,
            Parameter("expiry", "path", "string", "instant (2026-12-25T08:00:00Z) or its day (2026-12-25), UTC"),
            Parameter("strikes", "query", "string", f"numbers between commas, at most {MAX_STRIKES}; default: 41 over "
                      "2.5 standard deviations on either side"),
        ),
        SmileAnswer,
    ),
    Operation(
        "metrics",
        "/metrics/{underlying}",
        "ATM vol, skew, risk reversals and butterflies by expiry and by constant tenor; as Arrow: the expiries",
        (
            _UNDERLYING,
            Parameter("tenors", "query", "string", "days between commas; default 7,14,30,60,90,180"),
            _FORMAT,
        ),
        MetricsAnswer,
        True,
    ),
    Operation(
        "quotes",
        "/quotes/{underlying}",
        "Every quote as vols beside the fit, with the reason of those left out",
        (
            _UNDERLYING,
            Parameter("expiry", "query", "string", "only this expiry"),
            Parameter("used", "query", "boolean", "true: only the points of the fit"),
            _FORMAT,
        ),
        QuotesAnswer,
        True,
    ),
    Operation("diagnostics", "/diagnostics", "Engine, venues, settings, events", (), DiagnosticsAnswer),
    Operation("openapi", "/openapi.json", "This description", (), None),
    Operation("asyncapi", "/asyncapi.json", "The description of the stream", (), None),
)  # fmt: skip


class HeadRecord(Strict):
    """What is said once per publication.

    changed: bit i set when smile i differs visibly from the one before. model_words, model_gain: of a mixture, why it is
    shown, and its share of quotes inside bid and ask minus SVI's.
    """

    surface_id: int
    market_time: str
    published: str
    newest_quote: str
    oldest_tick: str
    spot: float | None
    settings_version: int
    changed: int
    model_words: str
    model_gain: float | None
    valuation_time: str
    state: str
    state_reason: str
    ok: bool
    digest: str


class FrameSmile(SmileRecord, kw_only=True):
    """A smile with its verdict, and that against the next expiry: the last one has none."""

    butterfly: VerdictRecord
    calendar: VerdictRecord | UnsetType = UNSET


class SnapshotFrame(Strict):
    """Everything, as frame number `seq`."""

    version: int
    type: Literal["snapshot"]
    underlying: str
    seq: int
    head: HeadRecord
    smiles: list[FrameSmile]


class PatchFrame(Strict):
    """What differs from frame `base`: of the head, new or other smiles, fields of the other smiles, the order of expiries."""

    version: int
    type: Literal["patch"]
    underlying: str
    seq: int
    base: int
    head: dict[str, Any]
    smiles: list[FrameSmile] | UnsetType = UNSET
    fields: dict[str, dict[str, Any]] | UnsetType = UNSET
    order: list[str] | UnsetType = UNSET
