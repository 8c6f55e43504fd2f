"""One published version on disk: read its manifest, prove its files, give their paths."""

import hashlib
from pathlib import Path

from model_store.errors import BadManifest, CorruptBundle
from model_store.manifest import FileEntry, Manifest
from model_store.spec import Encoder

MANIFEST_FILE = "manifest.json"


class Bundle:
    """A folder and the manifest it was published with."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> "Bundle":
        """Read the manifest only. Raises BadManifest."""
        if (folder / MANIFEST_FILE).resolve().parent != folder.resolve():
            raise BadManifest(f"{MANIFEST_FILE} points outside its bundle")
        try:
            text = (folder / MANIFEST_FILE).read_bytes()
        except OSError as error:
            raise BadManifest(f"{MANIFEST_FILE} cannot be read: {error.strerror}") from None
        manifest = Manifest.from_json(text)
        if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
            raise BadManifest(
                f"{MANIFEST_FILE} is of {manifest.name}@{manifest.version},"
                f" but lies in {folder.parent.name}/{folder.name}"
            )
        return cls(folder, manifest)

    def verify(self) -> None:
        """Hash every file. Raises CorruptBundle naming the first one that is not as published."""
        for name, entry in self.manifest.files.items():
            path = self.path(name)
            try:
                found = entry_of(path)
            except OSError as error:
                raise CorruptBundle(f"{name} cannot be read: {error.strerror}") from None
            if found != entry:
                raise CorruptBundle(
                    f"{name} was changed: expected sha256 {entry.sha256[:12]}… of"
                    f" {entry.size_bytes} bytes; got {found.sha256[:12]}… of {found.size_bytes}"
                )

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


def entry_of(path: Path) -> FileEntry:
    """Hash a file. Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(sha256=digest, size_bytes=path.stat().st_size)
