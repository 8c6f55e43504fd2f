"""One version on disk: read its manifest or infer it, prove its files, give their paths."""

import hashlib
from pathlib import Path, PurePosixPath

from model_store.errors import BadManifest, CorruptBundle
from model_store.manifest import FileEntry, Manifest
from model_store.onnx_file import read_signature, refuse_pointer
from model_store.plain import graph_file, infer_manifest
from model_store.spec import Encoder

MANIFEST_FILE = "manifest.json"


class Bundle:
    """A folder and the manifest it was published with, or that its plain graph implies."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return str(self.folder)

    @classmethod
    def open(cls, folder: Path) -> "Bundle":
        """Read the manifest only; without one, the graph. Raises BadManifest, CorruptBundle."""
        file = folder / MANIFEST_FILE
        if not file.exists() and not file.is_symlink() and graph_file(folder):
            return cls(folder, infer_manifest(folder))
        if file.resolve().parent != folder.resolve():
            raise BadManifest(f"{MANIFEST_FILE} points outside its bundle")
        try:
            text = file.read_bytes()
        except OSError as error:
            raise BadManifest(f"{MANIFEST_FILE} cannot be read: {error.strerror}") from None
        manifest = Manifest.from_json(text)
        if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
            raise BadManifest(
                f"{MANIFEST_FILE} is of {manifest.name}@{manifest.version},"
                f" but lies in {folder.parent.name}/{folder.name}"
            )
        return cls(folder, manifest)

    def verify(self, *, afresh: bool = False) -> None:
        """Hash every file, then read every graph, as no runtime should open a file that leads out
        of the bundle. ``afresh`` asks for the files themselves where copies of them would do.
        Raises CorruptBundle naming the first one that is not as published.
        """
        for name, entry in self.manifest.files.items():
            path = self.path(name)
            if entry.sha256 is not None:
                _compare(name, path, entry)
        for graph in self.manifest.graphs.values():
            for location in read_signature(self.path(graph.file)).external:
                self.path(str(PurePosixPath(graph.file).parent / location))

    def path(self, name: str) -> Path:
        """A listed file's path. Raises CorruptBundle for one not listed or outside the folder."""
        path = self.folder / name
        if name not in self.manifest.files:
            raise CorruptBundle(f"{name} is not listed in the manifest")
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise CorruptBundle(f"{name} points outside its bundle")
        return path

    def encoder(self, verb: str) -> Encoder:
        """The function that makes this verb's items into tensors."""
        return self.manifest.verbs[verb].input.encoder(self.folder)  # type: ignore[index]


def _compare(name: str, path: Path, entry: FileEntry) -> None:
    try:
        found = entry_of(path)
        if found != entry:
            refuse_pointer(path)
    except OSError as error:
        raise CorruptBundle(f"{name} cannot be read: {error.strerror}") from None
    if found != entry:
        raise CorruptBundle(f"{name} was changed: {unlike(entry, found)}")


def unlike(entry: FileEntry, found: FileEntry) -> str:
    """What was expected of a file, and what came."""
    return (
        f"expected sha256 {str(entry.sha256)[:12]}… of {entry.size_bytes} bytes;"
        f" got {str(found.sha256)[:12]}… of {found.size_bytes}"
    )


def entry_of(path: Path) -> FileEntry:
    """Hash a file. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, size_bytes=path.stat().st_size)
