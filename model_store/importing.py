"""A model made elsewhere → a published version, with digests: ``modelhub import``.

All of it is read and proved where it lies; only then is it copied, so nothing is half-published.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model_store.bundle import MANIFEST_FILE
from model_store.errors import NotFound, NotImportable
from model_store.manifest import Manifest
from model_store.optimum import Exported, read_decoder
from model_store.plain import infer_draft
from model_store.store import Store, check_name


@dataclass(frozen=True)
class Said:
    """What the user says of the model; None where its files know better, or nobody does."""

    license: str | None = None
    source: str | None = None
    task: str | None = None
    description: str | None = None
    context: int | None = None

    @property
    def facts(self) -> dict[str, str]:
        """Those that stand in the manifest as they are."""
        fields = ("license", "source", "task", "description")
        return {name: getattr(self, name) for name in fields if getattr(self, name) is not None}


def import_model(store: Store, path: Path, name: str, said: Said) -> Manifest:
    """Publish a folder with a decoder, or the graph in a file. Raises StoreError; nothing is
    published then.
    """
    check_name(name)
    if path.is_dir():
        exported = read_decoder(path, said.context)
    elif path.is_file():
        exported = _read_plain(path, said)
    else:
        raise NotFound(f"{path}: expected a folder or an .onnx file; nothing is there")
    if MANIFEST_FILE in exported.files:
        raise NotImportable(f"{path.name} keeps weights in {MANIFEST_FILE}, a name of the store's")
    draft = exported.draft.model_copy(update=said.facts)
    with store.stage(name) as staged:
        for file, content in exported.files.items():
            _place(staged / file, content)
        try:
            return store.publish(name, staged, draft)
        except ValidationError as error:  # a file's name that no bundle may have
            message = error.errors(include_url=False)[0]["msg"]
            raise NotImportable(f"{path.name}: {message}") from None


def _read_plain(path: Path, said: Said) -> Exported:
    """A graph and nothing beside it but its weights. What was inferred goes into the description,
    as once published it holds; all but the tensors, which the manifest has anyway.
    """
    if said.context is not None:
        raise NotImportable(f"--context: {path.name} is one graph; a decoder comes as its folder")
    draft, notes, beside = infer_draft(path, path.name)
    draft = draft.model_copy(update={"description": " ".join([draft.description, *notes[1:]])})
    return Exported(draft, {name: path.parent / name for name in (path.name, *beside)})


def _place(target: Path, content: Path | bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            shutil.copyfile(content, target)
    except OSError as error:
        raise NotImportable(f"{target.name} cannot be copied: {error.strerror}") from None


def described(manifest: Manifest) -> dict[str, Any]:
    """What was published, for whoever asked for it."""
    [graph] = manifest.graphs.values()
    return {
        "name": manifest.name,
        "version": manifest.version,
        "task": manifest.task,
        "verbs": list(manifest.verbs),
        "context": graph.decoding.context if graph.decoding else None,
        "size_bytes": manifest.size_bytes,
    }
