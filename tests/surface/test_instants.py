from datetime import UTC, datetime, timedelta, timezone

import pytest

from volsurface.surface.instants import from_iso, instant_ns, to_iso


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_779_693_691_450_623_000, "2026-05-25T07:21:31.450623Z"),
        (1_779_693_691_000_000_001, "2026-05-25T07:21:31.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ],
)
def test_text_and_nanoseconds_are_the_same_instant(ns, text):
    assert to_iso(ns) == text
    assert from_iso(text) == ns


@pytest.mark.parametrize("text", ["2026-05-25T09:21:31.45+02:00", "2026-05-25 07:21:31.450", "2026-05-25T07:21:31.45Z"])
def test_offsets_and_missing_offsets(text):
    assert from_iso(text) == 1_779_693_691_450_000_000


def test_a_date_is_its_midnight():
    assert from_iso("1970-01-02") == 86_400_000_000_000


@pytest.mark.parametrize("text", ["yesterday", "2026-05-25T07:21:31.Z", "2026-05-25T07:21:31.1234567891Z", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError):
        from_iso(text)


def test_datetimes():
    ns = 1_779_693_691_450_623_000
    aware = datetime(2026, 5, 25, 7, 21, 31, 450623, tzinfo=UTC)
    assert instant_ns(aware) == instant_ns(aware.replace(tzinfo=None)) == instant_ns(ns) == ns
    assert instant_ns(aware.astimezone(timezone(timedelta(hours=-7)))) == ns
    assert instant_ns(to_iso(ns)) == ns
