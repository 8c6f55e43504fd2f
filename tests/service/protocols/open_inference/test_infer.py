"""What a call's address and headers mean, and whom its end is told to."""

import asyncio
import time

import pytest

from model_store.errors import NotFound
from service.errors import (
    BadBody,
    DeadlinePassed,
    ModelFault,
    NotReady,
    OutOfMemory,
    Overloaded,
)
from service.protocols.open_inference.answer import Answer
from service.protocols.open_inference.infer import (
    PATH,
    Address,
    Call,
    Codecs,
    Terms,
    find,
)
from service.schema import Priority
from service.telemetry import reason_of
from tests.service.bundles import codec, shades, snail
from tests.service.conftest import Hubs, Publish
from tests.service.protocols.open_inference.graphs import f32
from tests.service.protocols.open_inference.paths import in_json


@pytest.mark.parametrize(
    ("name", "version", "ref", "graph"),
    [
        ("m", None, "m", ""),
        ("m", "3", "m@3", ""),
        ("m@3", None, "m@3", ""),
        ("m@stable", None, "m@stable", ""),
        ("m~g", None, "m", "g"),
        ("m~g", "3", "m@3", "g"),
        ("m@3~g", None, "m@3", "g"),
        ("m~", None, "m", ""),
    ],
)
def test_an_address_is_read(name: str, version: str | None, ref: str, graph: str) -> None:
    assert Address.read(name, version) == Address(ref, graph, name)


@pytest.mark.parametrize(
    ("name", "version"), [("m", "x"), ("m", ""), ("m", "-1"), ("m", "1.0"), ("m@1", "1")]
)
def test_a_version_is_a_number_and_comes_once(name: str, version: str) -> None:
    with pytest.raises(NotFound, match=f"no version '{version}' of '{name}'"):
        Address.read(name, version)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("/v2/models/m/infer", ("m", None)),
        ("/v2/models/m@1~g/infer", ("m@1~g", None)),
        ("/v2/models/m/versions/1/infer", ("m", "1")),
        ("/v2/models/m/infer?a=1", None),
        ("/v2/models/m/infer/", None),
        ("/v2/models//infer", None),
        ("/v2/models/m/n/infer", None),
        ("/v2/models/m/versions/infer", None),
        ("/v2/models/m/versions/1/2/infer", None),
        ("/v1/models/m/infer", None),
        ("http://host/v2/models/m/infer", None),
    ],
)
def test_the_path_of_an_infer_call(path: str, parts: tuple[str, str | None] | None) -> None:
    match = PATH.fullmatch(path)
    assert (match.groups() if match else None) == parts


def test_headers_say_timeout_priority_and_header_length() -> None:
    none: dict[str, str] = {}
    assert Terms.read(none.get, 500) == Terms(
        0.5, explicit=False, priority=Priority.NORMAL, header_bytes=None
    )
    given = {
        "x-timeout-ms": "1500", "x-priority": "LOW", "inference-header-content-length": "007",
    }  # fmt: skip
    assert Terms.read(given.get, 500) == Terms(
        1.5, explicit=True, priority=Priority.LOW, header_bytes=7
    )


@pytest.mark.parametrize("raw", ["", "-1", "+1", "1.0", " 1", "1e2", "0x1", "١", "²", "9" * 13])
def test_a_header_length_is_a_plain_whole_number(raw: str) -> None:
    with pytest.raises(BadBody, match="Inference-Header-Content-Length: expected a whole number"):
        Terms.read({"inference-header-content-length": raw}.get, 500)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DeadlinePassed(""), "REJECTED"),
        (NotReady(""), "REJECTED"),
        (Overloaded(""), "REJECTED"),
        (ModelFault(""), "BACKEND"),
        (BadBody(""), "OTHER"),
        (OutOfMemory(""), "OTHER"),
        (KeyError(""), "OTHER"),
    ],
)
def test_a_failure_has_tritons_reason(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason


# --- calls ---------------------------------------------------------------------------------------


class Told(Call):
    """Keeps what it is told."""

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self.ends: list[object] = []

    def succeed(self, answer: Answer) -> None:
        self.ends.append(b"".join(answer.chunks))

    def fail(self, error: Exception) -> None:
        self.ends.append(error)


PLAIN = Terms(30, explicit=False, priority=Priority.NORMAL, header_bytes=None)


async def test_a_refused_body_is_told_and_the_lease_given_back(put: Publish, hubs: Hubs) -> None:
    put(snail)
    hub = hubs(tune=False)
    await hub.start()
    address = Address.read("snail", None)
    model = await find(hub, address, float("inf"))
    call = Told(model, *Codecs(10).find(model, address))
    call.begin(memoryview(b"{}"), PLAIN)
    (error,) = call.ends
    assert isinstance(error, BadBody)
    assert model.meter.failure["OTHER"] == 1
    gone = hub.residency.retire(("snail", 1))
    await gone  # which it is only once nobody has a lease


async def test_a_call_given_up_is_told_nothing_and_its_waiting_row_is_never_run(
    put: Publish, hubs: Hubs
) -> None:
    put(snail)
    hub = hubs(tune=False)
    await hub.start()
    address, codecs = Address.read("snail", None), Codecs(10)
    calls = []
    for rounds in (2000, 1, 1):
        model = await find(hub, address, float("inf"))
        calls.append(Told(model, *codecs.find(model, address)))
        body = in_json(f32([[rounds, 5]]), "table")
        calls[-1].begin(memoryview(body), PLAIN)
        if rounds > 1:
            batcher = model.lanes["model"].batcher
            while batcher.queued_rows or not batcher.running_s:  # noqa: ASYNC110 - a thread's
                await asyncio.sleep(0.001)
    batcher = model.lanes["model"].batcher
    assert batcher.queued_rows == 2
    calls[0].cancel()  # in the middle of its run
    calls[1].cancel()  # while it waits
    assert batcher.queued_rows == 1
    await hub.residency.retire(("snail", 1))
    assert [len(call.ends) for call in calls] == [0, 0, 1]
    assert b'"data":[5.0]' in calls[2].ends[0]  # type: ignore[operator]
    assert model.meter.failure["CANCELED"] == 2
    assert model.meter.success == 1
    # The long run, and the one that waited on; never the row that was given up.
    assert {rows: spent.count for rows, spent in model.meter.batches.items()} == {1: 2}


@pytest.mark.parametrize("give_up", ["cancel", "_late"])
async def test_a_call_given_up_while_its_answer_is_on_the_way_ends_once(
    put: Publish, hubs: Hubs, give_up: str
) -> None:
    """The worker has settled it, and the event loop has not heard of it yet."""
    put(snail)
    hub = hubs(tune=False)
    await hub.start()
    address = Address.read("snail", None)
    model = await find(hub, address, float("inf"))
    call = Told(model, *Codecs(10).find(model, address))
    call.begin(memoryview(in_json(f32([[1, 5]]), "table")), PLAIN)
    entry = call._entry
    assert entry
    while not entry.settled:
        time.sleep(0.001)  # noqa: ASYNC251 - the event loop has to be kept from hearing of it
    getattr(call, give_up)()
    call.cancel()
    await hub.residency.retire(("snail", 1))
    assert len(call.ends) == (give_up == "_late")
    assert (model.meter.success, sum(model.meter.failure.values())) == (0, 1)


async def test_a_call_that_is_over_is_not_cancelled(put: Publish, hubs: Hubs) -> None:
    put(snail)
    hub = hubs(tune=False)
    await hub.start()
    address = Address.read("snail", None)
    model = await find(hub, address, float("inf"))
    call = Told(model, *Codecs(10).find(model, address))
    call.begin(memoryview(in_json(f32([[1, 5]]), "table")), PLAIN)
    while not call.ends:  # noqa: ASYNC110 - it is a list
        await asyncio.sleep(0.001)
    call.cancel()
    assert (model.meter.success, sum(model.meter.failure.values())) == (1, 0)
    with await find(hub, address, float("inf")):  # a second user keeps it
        gone = hub.residency.retire(("snail", 1))
        await asyncio.sleep(0.05)
        assert not gone.done()
    await gone


async def test_codecs_know_labels_graphs_and_names(put: Publish, hubs: Hubs) -> None:
    put(shades)
    put(codec)
    hub = hubs(tune=False)
    await hub.start()
    codecs = Codecs(10)

    async def found(name: str) -> object:
        address = Address.read(name, None)
        with await find(hub, address, float("inf")) as model:
            return codecs.find(model, address)[1]

    assert await found("shades") is await found("shades")
    assert await found("shades") is not await found("shades@1")
    main, decoder = await found("codec"), await found("codec~decoder")
    assert list(main.reader.signature.inputs) == ["table"]  # type: ignore[attr-defined]
    assert list(decoder.reader.signature.inputs) == ["noise", "label"]  # type: ignore[attr-defined]
    with pytest.raises(NotFound, match="no graph 'codec~x'; there are codec~model, codec~decoder"):
        await found("codec~x")
    with pytest.raises(NotFound, match="Request for unknown model: 'nothing' is not found"):
        await found("nothing")


async def test_codecs_keep_few_names_of_one_graph(put: Publish, hubs: Hubs) -> None:
    manifest = put(shades)
    hub = hubs(tune=False)
    await hub.start()
    codecs = Codecs(10)
    for number in range(60):
        await hub.set_alias("shades", f"alias{number}", manifest.version)
        address = Address.read(f"shades@alias{number}", None)
        with await find(hub, address, float("inf")) as model:
            codecs.find(model, address)
    assert sum(len(known) for known in codecs._known.values()) < 20
