"""Cartoon faces with known attributes, as many as are asked for: dicebear's avataaars.

Drawn by Node.js, which has to be there, from npm's own archives, and kept as one file in the
user's cache. What is not an attribute (hair style, eyes, brows, clothes) is drawn at random. resvg
comes as WebAssembly, as its native form is another archive on every kind of machine.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model_store.inputs.none import Attribute
from training.data import archive
from training.data.archive import Archive
from training.data.attributed_pictures import AttributedPictures, Pictures
from training.errors import DataError

ARCHIVES = {
    "avatars": Archive(
        "@dicebear/avataaars@9.4.3",
        "dicebear-avataaars-9.4.3.tgz",
        "0faf2184c2013afbccfec08949b27e24c7e4c678eaec009752dd2b03b113f33d",
        size_bytes=51_001,
        registry="npm",
    ),
    "avatars_core": Archive(
        "@dicebear/core@9.4.3",
        "dicebear-core-9.4.3.tgz",
        "6ca7dae651c74ad547e548fbe7c41f49aaa377cf4617259277518389bf6b1a3d",
        size_bytes=7_921,
        registry="npm",
    ),
    "avatars_resvg": Archive(
        "@resvg/resvg-wasm@2.6.2",
        "resvg-resvg-wasm-2.6.2.tgz",
        "ff51acbb5ee0074601b75c3bea9226a18d346752af787f6d2d3adcdd98493d71",
        size_bytes=967_004,
        registry="npm",
    ),
}
SOURCE = "cartoon faces drawn by @dicebear/avataaars 9.4.3, Avataaars by Pablo Stanley"
LICENSE = (
    "avataaars: free for personal and commercial use; dicebear: MIT; resvg, which draws: MPL-2.0"
)
INSTALL = "apt-get install nodejs npm"
DRAWING_TIMEOUT_S = 600
NO_GLASSES = "none"
COLOURS = {
    "hair": {
        "black": "2c1b18", "brown": "724133", "blonde": "d6b370", "red": "c93305",
        "silver": "e8e1e1", "pink": "f59797",
    },
    "skin": {"pale": "ffdbb4", "tan": "d08b5b", "dark": "614335"},
}  # fmt: skip
EYEWEAR = {NO_GLASSES: "", "glasses": "prescription02", "sunglasses": "wayfarers"}
MOUTHS = {"smile": "smile", "serious": "serious", "open": "screamOpen"}
ATTRIBUTES = tuple(
    Attribute(name=name, values=tuple(values))
    for name, values in {**COLOURS, "eyewear": EYEWEAR, "mouth": MOUTHS}.items()
)
HAIR_STYLES = (
    "bob", "bun", "curly", "curvy", "dreads", "dreads01", "fro", "longButNotTooLong",
    "miaWallace", "straight01", "straightAndStrand", "frizzle", "shaggy", "shortCurly",
    "shortFlat", "shortRound", "shortWaved", "bigHair",
)  # fmt: skip
"""Those that show their colour: no hats, no shaven heads."""
ALWAYS = {"backgroundColor": ["ffffff"], "scale": 120, "facialHairProbability": 0,
          "topProbability": 100, "top": HAIR_STYLES, "accessoriesColor": ["262e33"]}  # fmt: skip


def load(count: int, size: int) -> AttributedPictures:
    """``count`` different faces of ``size`` pixels, the same ones each time; drawn once, then from
    the cache. Raises DataError where Node.js is missing or fails.
    """
    places, order = _order(count, size)
    digest = hashlib.sha256(json.dumps(order).encode()).hexdigest()
    path = archive.cache_folder() / f"avatars-{digest[:12]}.npz"  # other wishes, other faces
    if not path.exists():
        images, places = _draw(places, order, count)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            np.savez_compressed(file, images=images, places=places)
        Path(file.name).replace(path)  # whole or not at all, whoever else draws
    try:
        with path.open("rb") as kept, np.load(kept) as found:
            pictures = Pictures(
                torch.from_numpy(found["images"]), torch.from_numpy(found["places"])
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected drawn faces ({error}); remove it and run again"
        ) from None
    return AttributedPictures(pictures, ATTRIBUTES, f"{count:,} {SOURCE}", LICENSE)


def draw(count: int, size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """uint8 ``[count, 3, size, size]`` and the places of each face's attributes ``[count, A]``."""
    return _draw(*_order(count, size), count)


def _order(count: int, size: int) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Places of more faces than are wanted, as a few come out alike, and what Node.js is told."""
    random = np.random.default_rng(0)
    drawn = count + count // 20 + 10
    places = np.stack([random.integers(len(a.values), size=drawn) for a in ATTRIBUTES], axis=1)
    wishes = [_options(row, seed) for seed, row in enumerate(places.tolist())]
    return places, {"size": size, "wishes": wishes}


def _draw(
    places: npt.NDArray[np.int64], order: dict[str, Any], count: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    node = shutil.which("node")
    if node is None:
        raise DataError(
            f"expected Node.js, which draws the faces; there is no `node` here: `{INSTALL}`"
            " brings it, or give your own pictures with --data"
        )
    size = order["size"]
    faces = np.frombuffer(_run(node, order), np.uint8).reshape(len(places), size, size, 4)[..., :3]
    _, first = np.unique(faces.reshape(len(faces), -1), axis=0, return_index=True)
    kept = np.sort(first)[:count]
    return np.ascontiguousarray(faces[kept].transpose(0, 3, 1, 2)), places[kept]


def _options(places: list[int], seed: int) -> dict[str, Any]:
    """What dicebear is told of one face."""
    hair, skin, eyewear, mouth = (
        attribute.values[place] for attribute, place in zip(ATTRIBUTES, places, strict=True)
    )
    return ALWAYS | {
        "seed": str(seed),
        "hairColor": [COLOURS["hair"][hair]],
        "skinColor": [COLOURS["skin"][skin]],
        "accessories": [EYEWEAR[eyewear]] if EYEWEAR[eyewear] else [],
        "accessoriesProbability": 100 if EYEWEAR[eyewear] else 0,
        "mouth": [MOUTHS[mouth]],
    }


def _run(node: str, order: dict[str, Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        for wanted in ARCHIVES.values():
            _unpack(archive.fetch(wanted), Path(folder) / "node_modules" / wanted.package)
        script = Path(folder) / "draw.mjs"
        script.write_text((files("training.data") / "avatars.mjs").read_text("utf-8"), "utf-8")
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command, no input of a caller's
                [node, str(script), folder], input=json.dumps(order).encode(), check=True,
                capture_output=True, timeout=DRAWING_TIMEOUT_S,
            )  # fmt: skip
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            lines = (error.stderr or b"").decode(errors="replace").splitlines()
            said = next((line for line in lines if "Error" in line), str(error))
            raise DataError(
                f"expected faces from {node}; it said: {said}; Node.js 18 or later is needed"
            ) from None
    return done.stdout


def _unpack(package: Path, folder: Path) -> None:
    """npm's archives hold everything in a folder ``package``."""
    with tarfile.open(package) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            if file and ".." not in path.parts:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(file.read())
