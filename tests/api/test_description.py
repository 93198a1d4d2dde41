"""The descriptions are those of the code, and the examples of the page about the API work."""

import json
import re
from pathlib import Path

import pytest
from served_api import ApiServer

from volsurface.api import schema
from volsurface.api.description import WHY, asyncapi, openapi, text
from volsurface.api.routes import ROUTES
from volsurface.io.surface_frames import FORMS
from volsurface.surface.smile import PARAMETER_NAMES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("name", "description"), [("openapi", openapi()), ("asyncapi", asyncapi())])
def test_the_kept_descriptions_are_the_codes(name: str, description: dict) -> None:
    kept = (DOCS / f"{name}.json").read_text(encoding="utf-8")
    assert kept == text(description), "run `python -m volsurface.api.description docs`"


def test_every_route_is_described_and_every_description_routed() -> None:
    patterns = [re.compile(path) for path, _, _ in ROUTES if path.startswith("/api/v1")]
    described = [*openapi()["paths"], schema.STREAM]
    assert len(patterns) == len(described)
    for path in described:
        assert any(pattern.fullmatch(path) for pattern in patterns), path


@pytest.mark.parametrize("description", [openapi(), asyncapi()])
def test_every_reference_leads_somewhere(description: dict) -> None:
    references = re.findall(r'"\$ref": "#/([^"]+)"', text(description))
    assert references
    for reference in references:
        place = description
        for part in reference.split("/"):
            place = place[part]
        assert place


def test_every_model_of_a_smile_is_in_the_schema() -> None:
    properties = openapi()["components"]["schemas"]["SmileRecord"]["properties"]
    assert PARAMETER_NAMES.keys() <= properties.keys()
    assert asyncapi()["channels"]["stream"]["parameters"]["form"]["enum"] == list(FORMS)


def test_every_documented_status_and_address_is_in_the_page_about_the_api() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    for status in WHY:
        assert str(status) in page
    for operation in schema.OPERATIONS:
        assert f"/{operation.name}" in page


def test_the_curl_examples_work(server: ApiServer) -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    examples = re.findall(r"^curl .*?http://127\.0\.0\.1:5006(/[^\s']+)", page, re.MULTILINE)
    assert len(examples) >= 7
    for path in examples:
        status, body, headers = server.ask(path)
        assert status == 200, path
        if headers["Content-Type"] == "application/json":
            assert json.loads(body)["version"] == schema.VERSION
