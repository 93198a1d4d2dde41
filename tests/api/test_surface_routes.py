"""The surface API of a real page server: answers, refusals, the login of the page, limits."""

import http.client
import io
import json
import urllib.error
import urllib.parse
import urllib.request

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served_api import ApiServer

from volsurface.api.schema import OPERATIONS, ErrorAnswer
from volsurface.surface.surface import Surface

PATHS = {
    "underlyings": "/underlyings",
    "surface": "/surface/BTC",
    "smile": "/smile/BTC/2026-12-21",
    "metrics": "/metrics/BTC",
    "quotes": "/quotes/BTC",
    "diagnostics": "/diagnostics",
    "openapi": "/openapi.json",
    "asyncapi": "/asyncapi.json",
}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_an_answer_is_the_record_it_is_described_as(server: ApiServer, operation) -> None:
    answer = json.dumps(server.get(PATHS[operation.name]))
    if operation.answer is not None:
        msgspec.json.decode(answer, type=operation.answer)  # a field more or less fails


def test_the_surface_is_the_engines_in_every_bit_also_a_mixture(server: ApiServer) -> None:
    server.script("mixture")
    answer = server.get("/surface/ETH")
    surface = Surface.from_dict(answer["surface"])
    assert surface.smiles[1].model == "mixture"
    assert surface.digest == answer["digest"]
    tenor = server.get("/metrics/ETH?tenors=20")["tenors"][0]
    assert tenor["atm_vol"] == surface.constant_tenor(20).atm_vol
    points = server.get("/smile/ETH/2026-11-28?strikes=3000,3200")["points"]
    assert points["vol"] == np.asarray(surface.smiles[1].vol(np.array([3000.0, 3200.0]))).tolist()


def test_quotes_are_filtered_by_expiry_and_use(server: ApiServer) -> None:
    everything = server.get("/quotes/BTC")["columns"]
    some = server.get("/quotes/BTC?expiry=2026-12-21T08:00:00Z&used=true")["columns"]
    assert set(some["expiry"]) == {"2026-12-21T08:00:00Z"}
    assert set(some["reason"]) == {"used"}
    assert 0 < len(some["k"]) < len(everything["k"])
    assert {len(column) for column in everything.values()} == {len(everything["k"])}


@pytest.mark.parametrize("name", ["surface", "metrics", "quotes"])
def test_a_table_is_also_arrow(server: ApiServer, name: str) -> None:
    status, body, headers = server.ask("/api/v1" + PATHS[name] + "?format=arrow")
    assert status == 200
    assert headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(io.BytesIO(body)).read_all()
    answer = server.get(PATHS[name])
    assert table.schema.metadata[b"digest"].decode() == answer["digest"]
    if name == "quotes":
        assert table["strike"].to_pylist() == answer["columns"]["strike"]
    elif name == "metrics":
        assert table["rr25"].to_pylist() == [each["rr25"] for each in answer["expiries"]]
    else:
        first = answer["surface"]["smiles"][0]
        assert dict(table["parameters"].to_pylist()[0]) == first[first["model"]]


WRONG = [
    ("/api/v1/surface/DOGE", {}, 404, "unknown underlying 'DOGE'. Allowed: BTC, ETH"),
    ("/api/v1/surface/BTCC", {}, 404, "did you mean 'BTC'?"),
    ("/api/v1/smile/BTC/2031-01-01", {}, 404, "no expiry '2031-01-01' of BTC; there are: 2026-11-22T08:00:00Z"),
    ("/api/v2/surface/BTC", {}, 404, "speaks version v1 of the API, found 'v2'"),
    ("/api/v1/surfaces/BTC", {}, 404, "unknown path '/surfaces/BTC'"),
    ("/api/v1/surface/BTC?colour=red", {}, 400, "unknown parameter 'colour'"),
    ("/api/v1/surface/BTC?format=xml", {}, 400, "unknown format 'xml'"),
    ("/api/v1/smile/BTC/2026-12-21?strikes=1,none", {}, 400, "strikes are numbers between commas"),
    ("/api/v1/smile/BTC/2026-12-21?strikes=" + "9," * 600 + "9", {}, 400, "at most 500"),
    ("/api/v1/metrics/BTC?tenors=-3", {}, 400, "positive"),
    ("/api/v1/quotes/BTC?used=maybe", {}, 400, "true or false"),
    ("/api/v1/surface/BTC?x=" + "9" * 9000, {}, 414, "at most 8000"),
    ("/api/v1/surface/BTC", {"method": "POST", "body": b"{}"}, 405, "read-only"),
    ("/api/v1/surface/BTC", {"method": "DELETE"}, 405, "read-only"),
    ("/api/v1/surface/BTC", {"body": b"x" * 1000, "method": "GET"}, 413, "no body"),
    ("/api/v1/surface/BTC", {"token": "a token nobody has"}, 401, "not known"),
    ("/api/v1/surface/BTC", {"Origin": "https://evil.example"}, 403, "pages of https://evil.example"),
    ("/api/v1/surface/BTC", {"token": None, "Host": "evil.example:5006"}, 403, "own names only"),
    ("/api/v1/surface/BTC", {"token": None, "X_Forwarded_For": "1.2.3.4"}, 403, "--basic-auth"),
    ("/api/v1/stream/BTC", {}, 426, "websocket"),
]


@pytest.mark.parametrize(("path", "how", "status", "words"), WRONG)
def test_what_cannot_be_answered_has_a_status_and_a_sentence(
    server: ApiServer, path: str, how: dict, status: int, words: str
) -> None:
    found, body, headers = server.ask(path, **how)
    assert headers["Content-Type"] == "application/json"
    assert {405: "Allow", 401: "WWW-Authenticate", 413: "Connection"}.get(status, "Server") in headers
    answer = msgspec.json.decode(body, type=ErrorAnswer)
    assert (found, answer.status) == (status, status)
    assert words in answer.error


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*PATHS.values(), "/stream/BTC", "/", "", "/smile/BTC", "/%00", "/surface/%ff", "/surface/BTC/"]),
    st.text(max_size=12),
    st.dictionaries(
        st.sampled_from(["strikes", "tenors", "expiry", "used", "format", "x"]), st.text(max_size=12), max_size=2
    ),
)
def test_any_request_has_an_answer(server: ApiServer, path: str, tail: str, query: dict[str, str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    address = "/api/v1" + path + urllib.parse.quote(tail) + "?" + urllib.parse.urlencode(query)
    connection.request("GET", address, headers={"Authorization": "Bearer alice-has-this-token"})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status in {200, 400, 404, 426}
    if answer.status != 200:
        assert len(msgspec.json.decode(body, type=ErrorAnswer).error) > 5


def test_who_asks_too_often_is_told_when_to_come_back(server: ApiServer) -> None:
    for _ in range(20):
        status, body, headers = server.ask("/api/v1/underlyings", token="bob-has-another-token")
        if status == 429:
            break
    assert status == 429
    assert int(headers["Retry-After"]) >= 1
    assert "bob may make 0.5 requests a second" in json.loads(body)["error"]
    assert server.ask("/api/v1/underlyings")[0] == 200  # another holder notices nothing


def test_this_machine_asks_without_a_token(server: ApiServer) -> None:
    assert server.ask("/api/v1/surface/BTC", token=None)[0] == 200
    own = f"http://127.0.0.1:{server.port}"
    assert server.ask("/api/v1/surface/BTC", token=None, Origin=own)[0] == 200


def test_the_login_of_the_page_or_a_token_opens_the_api(closed_server: ApiServer) -> None:
    status, body, _ = closed_server.ask("/api/v1/surface/BTC", token=None)
    assert status == 401
    assert "log in on the page first" in json.loads(body)["error"]
    assert closed_server.ask("/api/v1/stream/BTC", token=None)[0] == 401
    assert closed_server.ask("/api/v1/surface/BTC")[0] == 200
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    login = urllib.parse.urlencode({"username": "trader", "password": "open sesame"}).encode()
    opener.open(closed_server.url + "/login", login, timeout=20).read()
    with opener.open(closed_server.url + "/api/v1/surface/BTC", timeout=20) as answer:
        assert answer.status == 200
    wrong = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    login = urllib.parse.urlencode({"username": "trader", "password": "guess"}).encode()
    wrong.open(closed_server.url + "/login", login, timeout=20).read()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        wrong.open(closed_server.url + "/api/v1/surface/BTC", timeout=20)
