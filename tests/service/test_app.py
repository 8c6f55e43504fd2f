"""The one table from errors to statuses: complete, and shut to what is not for callers."""

import inspect
import json

import pytest

from model_store import errors as store_errors
from service import errors as service_errors
from service.app import STATUS, describe, encode_error

EXPECTED = {
    "BadBody": 400,
    "NoKey": 401,
    "WrongScope": 403,
    "NotFound": 404,
    "BadName": 404,
    "NoSuchVerb": 409,
    "Unsupported": 501,
    "NoRoom": 507,
    "OutOfMemory": 507,
    "VersionInUse": 409,
    "BodyTooLarge": 413,
    "ItemTooLarge": 413,
    "UnreadableMedia": 415,
    "ItemMismatch": 422,
    "NotReady": 503,
    "Overloaded": 503,
    "DeadlinePassed": 504,
    "ModelFault": 500,
    "BadManifest": 503,
    "Unreachable": 503,
    "CorruptBundle": 503,
    "NotImportable": 500,
    "StoreError": 500,
    "ServiceError": 500,
    "ItemError": 500,
}


def errors() -> dict[str, type[Exception]]:
    return {
        name: kind
        for module in (service_errors, store_errors)
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == module.__name__
    }


def test_every_error_of_the_house_has_its_status() -> None:
    assert set(errors()) == set(EXPECTED)
    assert {kind.__name__ for kind in STATUS} <= set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_error_becomes_a_problem_with_its_status(name: str) -> None:
    status = EXPECTED[name]
    response = encode_error(errors()[name]("said to /srv/secret/path"), "/v1/models")
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body = json.loads(bytes(response.body))
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    hidden = status == 500 and name != "ModelFault"
    assert ("secret" in body["detail"]) is not hidden
    assert response.headers.get("retry-after") == ("1" if status == 503 else None)


@pytest.mark.parametrize("path", ["/v2", "/v2/models/m/infer"])
@pytest.mark.parametrize("name", EXPECTED)
def test_v2_says_the_same_in_its_own_shape(name: str, path: str) -> None:
    error = errors()[name]("said to /srv/secret/path")
    ours, theirs = encode_error(error, "/v1"), encode_error(error, path)
    assert theirs.status_code == ours.status_code
    assert theirs.headers.get("retry-after") == ours.headers.get("retry-after")
    assert json.loads(bytes(theirs.body)) == {"error": json.loads(bytes(ours.body))["detail"]}


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/v2", "application/json"),
        ("/v2/", "application/json"),
        ("/v2/health/ready", "application/json"),
        ("/v20/models", "application/problem+json"),
        ("/", "application/problem+json"),
        ("", "application/problem+json"),
        ("/metrics", "application/problem+json"),
    ],
)
def test_shape_of_an_error_is_that_of_the_protocol_which_the_path_speaks(
    path: str, media_type: str
) -> None:
    assert encode_error(store_errors.NotFound("no"), path).headers["content-type"] == media_type


def test_error_without_a_row_of_its_own_has_that_of_its_nearest_ancestor() -> None:
    class TooNew(store_errors.BadManifest):
        pass

    problem = describe(TooNew("schema 9"))
    assert (problem.status, problem.detail) == (503, "schema 9")
    assert describe(RuntimeError("x")).title == "Internal error"


@pytest.mark.parametrize(
    "error", [ValueError("secret"), KeyError("secret"), ExceptionGroup("s", [OSError()])]
)
def test_stranger_is_our_fault_and_tells_nothing(error: Exception) -> None:
    response = encode_error(error, "/v1/models")
    assert response.status_code == 500
    assert b"secret" not in bytes(response.body)


def test_item_and_row_at_fault_stand_in_the_body() -> None:
    mismatch = store_errors.ItemMismatch("expected a number; got 'x'", field="b")
    mismatch.index = 3
    body = json.loads(bytes(encode_error(mismatch, "/v1").body))
    assert body["index"] == 3
    assert body["detail"] == "inputs[3]: b: expected a number; got 'x'"
    fault = service_errors.ModelFault("it failed", row=0)
    body = json.loads(bytes(encode_error(fault, "/v1").body))
    assert body["index"] == 0
    assert body["detail"] == "inputs[0]: it failed"


def test_error_trees_in_the_docstrings_name_every_error() -> None:
    for module in (service_errors, store_errors):
        assert module.__doc__ is not None
        for name, kind in errors().items():
            if kind.__module__ == module.__name__:
                assert name in module.__doc__
