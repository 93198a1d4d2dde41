"""During an overload the newest ticker of each instrument is decoded, every change of a book is, and nothing waits long."""

from itertools import pairwise

from volsurface.bench.ingest import OPTIONS, TIME_MS, book_frame, ready_codec, symbol, ticker_frame
from volsurface.io.late_frames import FIRST_WAIT_NS, FULL_READ_BYTES, LONGEST_WAIT_NS, LateFrames
from volsurface.market.row_table import RowTable

NOW = TIME_MS * 1_000_000
FULL, SHORT = FULL_READ_BYTES, 1000


class Decoder:
    """A codec that is live, and what it was given to decode."""

    def __init__(self) -> None:
        self.table = RowTable(epoch=1)
        self.codec = ready_codec(self.table, NOW)
        self.decoded: list[tuple[bytes, int]] = []
        self.late = LateFrames(self.codec, self.receive)
        self.before = self.codec.messages

    def receive(self, frame: bytes, now_ns: int) -> None:
        self.decoded.append((frame, now_ns))
        self.codec.receive(frame, now_ns)

    def read(self, size: int, now_ns: int, *frames: bytes) -> None:
        """One read of the socket, as the connection passes it on."""
        self.late.begin_read(size, now_ns)
        for frame in frames:
            (self.late.receive if self.late.active else self.receive)(frame, now_ns)


def test_the_newest_ticker_of_each_instrument_wins() -> None:
    decoder = Decoder()
    tickers = [ticker_frame(n, turn) for turn in range(5) for n in range(3)]
    decoder.read(FULL, NOW, *tickers)
    assert decoder.decoded == []
    decoder.read(SHORT, NOW + 1)
    assert decoder.decoded == [(frame, NOW) for frame in tickers[-3:]]
    assert decoder.codec.superseded == 12
    assert decoder.codec.messages - decoder.before == 15
    rows = decoder.table.rows[:3]
    assert rows["ts_recv_ns"].tolist() == [NOW] * 3
    assert rows["fwd"].tolist() == [64123.25 + 4] * 3


def test_no_change_of_a_book_is_passed_over_or_late() -> None:
    decoder = Decoder()
    books = [book_frame(0, turn) for turn in range(5)]
    decoder.read(FULL, NOW, ticker_frame(0, 1), *books, ticker_frame(0, 2))
    assert [frame for frame, _ in decoder.decoded] == books
    assert decoder.codec.gaps == 0
    decoder.read(SHORT, NOW + 1)
    assert [frame for frame, _ in decoder.decoded[5:]] == [ticker_frame(0, 2)]


def test_what_is_no_market_data_finds_everything_before_it_decoded() -> None:
    decoder = Decoder()
    state = b'{"params":{"channel":"instrument.state.option.BTC","data":{"timestamp":1,"state":"closed","instrument_name":"%s"}}}'
    decoder.read(FULL, NOW, ticker_frame(0, 1), state % symbol(0).encode())
    assert decoder.decoded[0] == (ticker_frame(0, 1), NOW)
    assert len(decoder.decoded) == 2
    assert decoder.codec.rejected == 0


def test_an_overload_that_does_not_end_makes_frames_wait_longer_up_to_a_limit() -> None:
    decoder = Decoder()
    times = [NOW + n * FIRST_WAIT_NS // 4 for n in range(200)]
    for n, now_ns in enumerate(times):
        decoder.read(FULL, now_ns, ticker_frame(0, n))
    decoded = [times.index(now_ns) for _, now_ns in decoder.decoded]
    assert decoded[:4] == [3, 11, 27, 59]  # after 20, 40, 80 and 160 ms
    assert {later - sooner for sooner, later in pairwise(decoded[3:])} == {32}
    assert decoder.late.wait_ns == LONGEST_WAIT_NS
    decoder.read(SHORT, times[-1] + 1)
    assert decoder.late.wait_ns == FIRST_WAIT_NS
    assert decoder.late.waiting == 0


def test_the_rows_at_the_end_are_those_of_a_feed_that_decoded_everything() -> None:
    decoder, whole = Decoder(), Decoder()
    turns = [[book_frame(n, turn) for n in range(20)] + [ticker_frame(n, turn) for n in range(20)] for turn in range(6)]
    for turn, frames in enumerate(turns):
        decoder.read(FULL, NOW + turn, *frames)
        whole.read(SHORT, NOW + turn, *frames)
    decoder.late.decode()
    for name in set(decoder.table.rows.dtype.names or ()) - {"version"}:
        assert decoder.table.rows[name].tobytes() == whole.table.rows[name].tobytes(), name
    assert len(decoder.decoded) < len(whole.decoded) <= 12 * OPTIONS
