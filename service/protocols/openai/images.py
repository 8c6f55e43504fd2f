"""``POST /v1/images/generations``: pictures from any model that makes them out of nothing."""

import time
from typing import Literal

from fastapi import Request, Response
from pydantic import ConfigDict, Field

from model_store.answers.image import ImageAnswer
from model_store.errors import ItemMismatch
from model_store.inputs.none import NoneInput, NoneParameters
from model_store.spec import show
from service.errors import NoSuchVerb
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.protocols.openai.wire import Body, check_fields, encode, read_json
from service.schema import Ask

VERB = "generate"


class ImageBody(Body, NoneParameters):
    """OpenAI's fields, our ``seed``, ``label`` and ``truncation``, and the model's attributes, each
    by its name. ``prompt`` is the label to draw, or attributes apart by commas, or empty; it is not
    read as a sentence.
    """

    model_config = ConfigDict(extra="allow")  # attributes are the model's; _check refuses others

    prompt: str = ""
    size: str = Field(default="auto", description="auto, or the width x height that the model has")
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"


async def answer(hub: ModelHub, request: Request) -> Response:
    """Raises BadBody, ItemError, ServiceError, StoreError."""
    body, terms = await read_json(request, hub, ImageBody)
    numbers = body.model_dump(include={"n", "seed", "truncation"}, exclude_unset=True)
    with await hub.find(body.model, terms.deadline) as model:
        wish = numbers | _wish(body, _check(body, model))
        ask = Ask(body.model, VERB, [{}], wish, terms.deadline, terms.priority, terms.body_bytes)
        reply = await hub.answer(ask, model)
        manifest = model.manifest
    timing = {"queue_s": reply.queue_s, "compute_s": reply.compute_s}
    request.scope["modelhub"].update(model=reply.model, version=reply.version, **timing)
    data = [
        {"b64_json": image.pop("b64"), **image}
        for output in reply.outputs
        for image in output["images"]
    ]
    return encode({"created": int(time.time()), "data": data}, manifest)


def _wish(body: ImageBody, kind: NoneInput) -> dict[str, object]:
    """The label or attributes; prompt and field may both say one if they say the same. Raises
    ItemMismatch.
    """
    asked = kind.read_prompt(body.prompt)
    given = {"label": body.label} if body.label else {}
    for name, value in (given | (body.model_extra or {})).items():
        if asked.setdefault(name, value) != value:
            raise ItemMismatch(
                f"expected the prompt again, {show(asked[name])}, or nothing; got {show(value)}",
                field=name,
            )
    return dict(asked)


def _check(body: ImageBody, model: LoadedModel) -> NoneInput:
    """The model's input, which can take such a body. Raises NoSuchVerb, ItemMismatch."""
    verb, name = model.verb(VERB), model.manifest.name
    if not isinstance(verb.input, NoneInput) or not isinstance(verb.answer, ImageAnswer):
        raise NoSuchVerb(
            f"{name} makes {verb.answer.kind} from {verb.input.kind}, not pictures from nothing"
        )
    own = [attribute.name for attribute in verb.input.attributes]
    check_fields(body.model_fields_set, [*ImageBody.model_fields, *own])
    outputs = model.manifest.graphs[verb.graph].outputs
    shapes = [tensor.shape for tensor in outputs if tensor.name == verb.answer.tensor]
    height, width = shapes[0][-2:]
    if body.size not in ("auto", f"{width}x{height}"):
        raise ItemMismatch(
            f"expected auto or {width}x{height}, as this model draws; got {show(body.size)}",
            field="size",
        )
    return verb.input
