"""What can go wrong in the store and with an item. No HTTP in here: ``service.app`` maps these.

::

    StoreError                 the store, a bundle or a reference
    ├── BadName                a name, version or alias that cannot exist
    ├── NotFound               no such model, version or alias
    ├── BadManifest            a manifest that cannot be read or contradicts itself
    ├── CorruptBundle          a file is missing, changed or out of its folder
    ├── NotImportable          a model from elsewhere lacks what serving it needs
    ├── VersionInUse           a version that an alias points at cannot be removed
    └── Unreachable            the store in a bucket, or an object in it, cannot be had now
    ItemError                  one item of a request (or of a training set)
    ├── ItemMismatch           readable, but not what this model takes
    └── ItemTooLarge           over a stated limit of pixels, tokens or rows
"""


class StoreError(Exception):
    """Root of the errors about the store and its bundles."""


class BadName(StoreError):
    """A name, version or alias that cannot exist."""


class NotFound(StoreError):
    """No such model, version or alias in the store."""


class BadManifest(StoreError):
    """The manifest cannot be read or contradicts itself."""


class CorruptBundle(StoreError):
    """A file of the bundle is missing, changed or outside its folder."""


class NotImportable(StoreError):
    """A model from elsewhere lacks something that serving it needs."""


class VersionInUse(StoreError):
    """An alias points at the version, so it stays."""


class Unreachable(StoreError):
    """The store in a bucket, or an object in it, cannot be had now; later perhaps."""


class ItemError(Exception):
    """Root of the errors about one item. ``field`` says which part of the item is at fault;
    whoever holds several items sets ``index`` to the place of this one.
    """

    index: int | None = None

    def __init__(self, detail: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.detail = detail
        self.field = field


class ItemMismatch(ItemError):
    """Readable, but not what this model takes."""


class ItemTooLarge(ItemError):
    """Over a stated limit of pixels, tokens or rows."""
