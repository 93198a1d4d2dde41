"""What became of each option of a batch: one small integer beside every implied vol."""

OK, OK_SCALAR, BAD_INPUT, EXPIRED, BELOW_INTRINSIC, NO_TIME_VALUE, ABOVE_CAP, NO_CONVERGENCE = range(8)

# Values up to OK_SCALAR carry a vol, all others NaN. The index is the status.
STATUS_NAMES = (
    "ok",
    "ok_scalar",
    "bad_input",
    "expired",
    "below_intrinsic",
    "no_time_value",
    "above_cap",
    "no_convergence",
)
STATUS_MEANINGS = (
    "solved by the fast path",
    "solved by the scalar path, as exactly",
    "not finite, forward or strike not positive, right neither call nor put, or beyond the range of float64",
    "no time left",
    "the price is below intrinsic value",
    "the price is intrinsic value exactly: the limit is a vol of zero, which must not enter a fit",
    "the price is at or above the forward (call) or the strike (put)",
    "the scalar path gave up",
)
