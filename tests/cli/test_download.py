"""The download against a server on this machine that breaks off, resumes, refuses and sends wrong lengths."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wsss.cli import download
from wsss.cli.download import DownloadError, download_voc, fetch

NAME = "VOCtrainval.tar"


class Server(ThreadingHTTPServer):
    """Serves `content`. Each of the next `cuts` ends its answer after that many bytes. Records each request's Range."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.knows_ranges = b"", True
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        self.codes: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/{NAME}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        content, start = self.server.content, 0
        if self.server.codes:
            self.send_error(self.server.codes.pop(0))
            return
        if asked and self.server.knows_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked).group(1))  # type: ignore[union-attr]
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.content = archive(
            {
                "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt": b"2007_000033\n",
                "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg": bytes(range(256)) * 400,
            }
        )
        yield running
        running.shutdown()
        thread.join()


def archive(files: dict[str, bytes], *, link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        if link:
            member = tarfile.TarInfo("VOCdevkit/VOC2012/link")
            member.type, member.linkname = tarfile.SYMTYPE, link
            tar.addfile(member)
    return out.getvalue()


def get(server: Server, output: Path, *, md5: str | None = None, sha256: str = "", retries: int = 3) -> None:
    digest = hashlib.md5(server.content, usedforsecurity=False).hexdigest() if md5 is None else md5
    download_voc(output=output, url=server.url, md5=digest, sha256=sha256, retries=retries, wait=0.001)


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


WHOLE = ["VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg"]


def test_whole_download(server: Server, tmp_path: Path) -> None:
    (tmp_path / "VOCdevkit" / "VOC2007").mkdir(parents=True)
    get(server, tmp_path)
    assert listing(tmp_path) == WHOLE  # the archive is gone, and so are all temporary files
    assert (tmp_path / WHOLE[1]).read_bytes() == bytes(range(256)) * 400
    get(server, tmp_path)
    assert server.ranges == [None]  # there already: nothing is asked again


def test_a_broken_line_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 0, 30_000]
    get(server, tmp_path)
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-", "bytes=31000-"]
    assert listing(tmp_path) == WHOLE


def test_a_later_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.cuts = [5000, 0, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"3 attempts brought nothing new .*bytes early.*5,000 bytes are kept"):
        get(server, tmp_path)
    assert listing(tmp_path) == [NAME + ".part"]
    assert len(server.ranges) == 4  # the first brought something
    server.cuts = []
    get(server, tmp_path)
    assert server.ranges[-1] == "bytes=5000-"
    assert listing(tmp_path) == WHOLE


def test_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.knows_ranges, server.cuts = False, [1000]
    get(server, tmp_path)
    assert server.ranges == [None, "bytes=1000-"]
    assert listing(tmp_path) == WHOLE


def test_a_part_that_is_whole_or_too_long(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "x.part"
    part.write_bytes(server.content)
    fetch(server.url, part=part, wait=0.001)
    assert part.read_bytes() == server.content
    part.write_bytes(server.content + b"more")
    fetch(server.url, part=part, wait=0.001)
    assert part.read_bytes() == server.content
    assert server.ranges[-1] is None


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.codes = [503, 429]
    get(server, tmp_path)
    assert listing(tmp_path) == WHOLE


def test_refusal_is_final(server: Server, tmp_path: Path) -> None:
    server.codes = [404] * 9
    with pytest.raises(DownloadError, match=r"404 Not Found; check the address"):
        get(server, tmp_path)
    assert len(server.ranges) == 1


def test_dead_line(tmp_path: Path) -> None:
    with Server() as server:
        url = server.url
    with pytest.raises(DownloadError, match="2 attempts brought nothing new"):
        download_voc(output=tmp_path, url=url, retries=2, wait=0.001)
    with pytest.raises(DownloadError, match="expected an http or https address"):
        download_voc(output=tmp_path, url="file:///etc/passwd")


def test_wrong_checksum_deletes_what_was_fetched(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"md5 of its [\d,]+ bytes is [0-9a-f]{32}, expected 00; deleted it"):
        get(server, tmp_path, md5="00")
    assert listing(tmp_path) == []


def test_sha256_takes_precedence(server: Server, tmp_path: Path) -> None:
    get(server, tmp_path / "good", md5="00", sha256=hashlib.sha256(server.content).hexdigest())
    with pytest.raises(DownloadError, match="sha256"):
        get(server, tmp_path / "bad", sha256="00")


def test_archive_put_there_by_hand(server: Server, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"something else")
    with pytest.raises(DownloadError, match="move that file away"):
        get(server, tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"something else"
    (tmp_path / NAME).write_bytes(server.content)
    get(server, tmp_path)
    assert listing(tmp_path) == sorted([*WHOLE, NAME])
    assert server.ranges == []


@pytest.mark.parametrize(("name", "link"), [("../escaped.txt", ""), ("a.txt", "../../../../outside")])
def test_hostile_archive_is_refused(server: Server, tmp_path: Path, name: str, link: str) -> None:
    server.content = archive({"VOCdevkit/VOC2012/a.txt": b"", name: b"x"}, link=link)
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        get(server, tmp_path / "data")
    assert listing(tmp_path) == [f"data/{NAME}"]


def test_wrong_archive_is_refused(server: Server, tmp_path: Path) -> None:
    server.content = archive({"VOCdevkit/VOC2007/a.txt": b""})
    with pytest.raises(DownloadError, match="no folder VOCdevkit/VOC2012 in it"):
        get(server, tmp_path)


def test_full_disk_is_noticed_beforehand(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 150_000}))
    with pytest.raises(DownloadError, match="make room"):
        get(server, tmp_path)
    assert listing(tmp_path) == []


def test_an_endless_answer_is_stopped(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MOST_DOWNLOAD_BYTES", 1000)
    with pytest.raises(DownloadError, match=r"sends more than 1,000 bytes; this is not the archive"):
        get(server, tmp_path)
    assert listing(tmp_path) == [NAME + ".part"]


@pytest.mark.parametrize("length", ["many", "-5", "9" * 400])
def test_a_length_that_is_no_number_counts_as_none(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    usual = Handler.send_header
    monkeypatch.setattr(
        Handler,
        "send_header",
        lambda self, name, value: usual(self, name, length if name == "Content-Length" else value),
    )
    get(server, tmp_path)
    assert listing(tmp_path) == WHOLE
