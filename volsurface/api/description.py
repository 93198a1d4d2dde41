"""The surface API described for other programs, from the same table that its routes are made of: OpenAPI and AsyncAPI.

`python -m volsurface.api.description docs` writes both beside the other pages; a test compares them.
"""

import json
import sys
from inspect import getdoc
from pathlib import Path
from typing import Any

import msgspec

from volsurface.api.schema import (
    MAX_MESSAGE,
    OPERATIONS,
    RESYNC,
    ROOT,
    STREAM,
    VERSION,
    ErrorAnswer,
    Operation,
    PatchFrame,
    SnapshotFrame,
)
from volsurface.io import surface_columns
from volsurface.io.surface_frames import FLOAT32, FORMS, JSON, MSGPACK

Fields = dict[str, Any]
SCHEMAS = "#/components/schemas/"
TITLE = "volsurface"
WHY = {
    400: "A parameter that cannot be used",
    401: "No login, or a wrong token",
    403: "Another site's page, or another machine without a login",
    404: "An unknown underlying, expiry, path or version",
    405: "Anything but GET",
    406: "Arrow without pyarrow on the server",
    413: "A request with a body",
    414: "A query that is too long",
    429: "More requests than the caller may make; Retry-After says when",
    503: "Nothing to answer with yet",
}


def openapi() -> Fields:
    """Return the OpenAPI 3.1 description of the HTTP answers."""
    answers = [operation.answer for operation in OPERATIONS if operation.answer is not None]
    _, schemas = msgspec.json.schema_components([*answers, ErrorAnswer], ref_template=SCHEMAS + "{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION, "description": "Read-only. The stream: asyncapi.json."},
        "security": [{"token": []}, {"login": []}, {}],
        "paths": {ROOT + operation.path: {"get": _get(operation)} for operation in OPERATIONS},
        "components": {"schemas": schemas, "securitySchemes": _security()},
    }


def _get(operation: Operation) -> Fields:
    answer = {} if operation.answer is None else {"$ref": SCHEMAS + operation.answer.__name__}
    content: Fields = {"application/json": {"schema": answer}}
    if operation.table:
        content["application/vnd.apache.arrow.stream"] = {}
    errors = {
        str(code): {
            "description": why,
            "content": {"application/json": {"schema": {"$ref": SCHEMAS + ErrorAnswer.__name__}}},
        }
        for code, why in WHY.items()
    }
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            {"name": p.name, "in": p.where, "required": p.where == "path", "description": p.text,
             "schema": {"type": p.type}}
            for p in operation.parameters
        ],
        "responses": {"200": {"description": operation.summary, "content": content}, **errors},
    }  # fmt: skip


def asyncapi() -> Fields:
    """Return the AsyncAPI 3.0 description of the stream."""
    _, schemas = msgspec.json.schema_components([SnapshotFrame, PatchFrame], ref_template=SCHEMAS + "{name}")
    frames = {
        name: {"contentType": "application/json", "summary": getdoc(kind), "payload": {"$ref": SCHEMAS + kind.__name__}}
        for name, kind in (("snapshot", SnapshotFrame), ("patch", PatchFrame))
    }
    columns = {"contentType": "application/octet-stream", "summary": "Either of them, in the columns form",
               "description": surface_columns.__doc__}  # fmt: skip
    resync = {"contentType": "text/plain", "summary": "Asks for a snapshot, after a gap; any other word ends the stream",
              "payload": {"const": RESYNC, "maxLength": MAX_MESSAGE}}  # fmt: skip
    messages = {**frames, "columns": columns, "resync": resync}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": TITLE, "version": VERSION,
                 "description": "Frames are numbered. A patch whose base is not the last frame read is a gap: say resync. "
                 "A reader that is slow gets no queue but the newest snapshot."},
        "channels": {
            "stream": {
                "address": STREAM + "?form={form}",
                "parameters": {
                    "underlying": {"description": "coin, as /underlyings lists it"},
                    "form": {"enum": list(FORMS), "default": JSON,
                             "description": f"{JSON}: text; {MSGPACK}: the same and the quotes, bit for bit; "
                             f"{FLOAT32}: float32, for drawing"},
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "frames": _operation("send", [*frames, "columns"]),
            "resync": _operation("receive", ["resync"]),
        },
        "components": {"messages": messages, "schemas": schemas, "securitySchemes": _security()},
    }  # fmt: skip


def _operation(action: str, messages: list[str]) -> Fields:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/stream"},
        "messages": [{"$ref": f"#/channels/stream/messages/{name}"} for name in messages],
    }


def _security() -> Fields:
    return {
        "token": {"type": "http", "scheme": "bearer"},
        "login": {"type": "apiKey", "in": "cookie", "name": "user", "description": "The page's own login"},
    }


def text(description: Fields) -> str:
    """Return a description as it is kept in a file."""
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


def main(folder: str) -> None:
    """Write both descriptions into a folder."""
    for name, description in (("openapi", openapi()), ("asyncapi", asyncapi())):
        (Path(folder) / f"{name}.json").write_text(text(description), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
