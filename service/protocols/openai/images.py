"""``POST /v1/images/generations``: pictures from any model that makes them out of nothing."""

import time
from typing import Literal

from fastapi import Request, Response
from pydantic import Field

from model_store.answers.image import ImageAnswer
from model_store.errors import ItemMismatch
from model_store.inputs.none import NoneInput, NoneParameters
from model_store.spec import show, show_names
from service.errors import NoSuchVerb
from service.hub import ModelHub
from service.loaded import LoadedModel
from service.protocols.openai.wire import Body, encode, read_json
from service.schema import Ask

VERB = "generate"


class ImageBody(Body, NoneParameters):
    """OpenAI's fields, and our ``seed``, ``label`` and ``truncation``. ``prompt`` is the label to
    draw, or empty; it is not read as a sentence.
    """

    prompt: str = ""
    size: str = Field(default="auto", description="auto, or the width x height that the model has")
    response_format: Literal["b64_json"] = "b64_json"
    output_format: Literal["png"] = "png"

    @property
    def wish(self) -> tuple[str, str]:
        """The label and the field it came in; both may say it if they say the same. Raises
        ItemMismatch.
        """
        if self.label and self.prompt and self.label != self.prompt:
            raise ItemMismatch(
                f"expected the prompt again, {show(self.prompt)}, or nothing; got"
                f" {show(self.label)}", field="label"
            )  # fmt: skip
        return self.label or self.prompt, "label" if self.label else "prompt"


async def answer(hub: ModelHub, request: Request) -> Response:
    """Raises BadBody, ItemError, ServiceError, StoreError."""
    body, terms = await read_json(request, hub, ImageBody)
    label, _ = body.wish
    parameters = body.model_dump(include={"n", "seed", "truncation"}, exclude_unset=True)
    parameters |= {"label": label} if label else {}
    ask = Ask(body.model, VERB, [{}], parameters, terms.deadline, terms.priority, terms.body_bytes)
    with await hub.find(ask.ref, ask.deadline) as model:
        _check(body, model)
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


def _check(body: ImageBody, model: LoadedModel) -> None:
    """Raises NoSuchVerb, ItemMismatch."""
    verb, name = model.verb(VERB), model.manifest.name
    if not isinstance(verb.input, NoneInput) or not isinstance(verb.answer, ImageAnswer):
        raise NoSuchVerb(
            f"{name} makes {verb.answer.kind} from {verb.input.kind}, not pictures from nothing"
        )
    label, field = body.wish
    if label and label not in verb.input.labels:
        want = f"one of {show_names(verb.input.labels)}" if verb.input.labels else "none"
        raise ItemMismatch(f"expected {want} or nothing; got {show(label)}", field=field)
    outputs = model.manifest.graphs[verb.graph].outputs
    shapes = [tensor.shape for tensor in outputs if tensor.name == verb.answer.tensor]
    height, width = shapes[0][-2:]
    if body.size not in ("auto", f"{width}x{height}"):
        raise ItemMismatch(
            f"expected auto or {width}x{height}, as this model draws; got {show(body.size)}",
            field="size",
        )
