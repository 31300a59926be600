"""`wsss download voc`: fetch the official archive, go on after an interruption, check it, unpack it safely."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from wsss.files.limits import MOST_DOWNLOAD_BYTES
from wsss.runtime.console import log, progress

VOC_URL = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
VOC_MD5 = "6cd6e144f989b92b3379bac3b3de84fd"
"""MD5 of the official archive, 1,999,639,040 bytes. Its publisher gives no SHA-256."""
BLOCK = 1 << 20
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of the disk: they are no reason to try again."""


class DownloadError(ValueError):
    """A download that did not succeed; the message says what to do."""


class _BrokenOffError(OSError):
    """The connection ended before the file did."""


def download_voc(
    *, output: Path, url: str = VOC_URL, md5: str = VOC_MD5, sha256: str = "", retries: int = 5, wait: float = 2.0
) -> None:
    """Fetch PASCAL VOC 2012 into OUTPUT/VOCdevkit/VOC2012; nothing is done if that folder exists.

    Args:
        output: Folder for the data; needs about 4 GB while it works.
        url: Archive, http or https.
        md5: Checksum of the archive; not used if sha256 is given.
        sha256: Checksum of the archive, instead of md5.
        retries: Attempts in a row that bring nothing new before it gives up; a rerun goes on from there.
        wait: Pause before the second attempt, doubled each time up to a minute, in seconds.

    Raises:
        DownloadError: If the server refuses, the connection stays dead, the disk is too small, or the archive is not
            the expected one.
    """
    target = output / "VOCdevkit" / "VOC2012"
    if target.exists():
        log.info("%s is already there", target)
        return
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: expected an http or https address")
    output.mkdir(parents=True, exist_ok=True)
    archive = output / Path(urlsplit(url).path).name
    fetched = not archive.exists()
    if fetched:
        part = archive.with_name(archive.name + ".part")
        fetch(url, part=part, retries=retries, wait=wait)
        os.replace(part, archive)
    try:
        check(archive, md5=md5, sha256=sha256)
    except DownloadError as error:
        if not fetched:
            raise DownloadError(f"{error}; move that file away and run the command again") from None
        archive.unlink()
        advice = f"run the command again, or put the archive of {url} there by hand"
        raise DownloadError(f"{error}; deleted it: {advice}") from None
    _unpack(archive, inner="VOCdevkit/VOC2012", target=target)
    if fetched:  # a file that the user put there stays
        archive.unlink()


def fetch(url: str, *, part: Path, retries: int = 5, wait: float = 2.0) -> None:
    """Bring `part` to the file's full length, from where it ends.

    Args:
        url: Address of the file.
        part: What is there already, if anything; keeps what was fetched when this fails.
        retries: Attempts in a row that bring nothing new before it gives up.
        wait: Pause before the second attempt, doubled each time up to a minute, in seconds.

    Raises:
        DownloadError: If the server refuses, the connection stays dead, or the disk is too small.
    """
    furthest, idle = _length(part), 0
    while True:
        try:
            _attempt(url, part)
            return
        except HTTPError as error:
            error.close()
            if error.code < 500 and error.code not in (408, 429):
                raise DownloadError(f"{url}: the server says {error.code} {error.reason}; check the address") from None
            reason = f"{error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and (error.filename or error.errno in _DISK):  # of the disk, not of the line
                raise
            reason = str(error) or type(error).__name__
        idle = 0 if _length(part) > furthest else idle + 1
        furthest = max(furthest, _length(part))
        if idle >= retries:
            kept = f"{furthest:,} bytes are kept in {part}"
            raise DownloadError(
                f"{url}: {retries} attempts brought nothing new ({reason}); {kept}: run the command again to go on"
            )
        log.info("%s: broke off at %s bytes (%s), trying again", url, f"{_length(part):,}", reason)
        time.sleep(min(wait * 2**idle, 60))


def check(path: Path, *, md5: str, sha256: str = "") -> None:
    """Compare a file with its checksum.

    Args:
        path: The file.
        md5: Hexadecimal digest; not used if sha256 is given.
        sha256: Hexadecimal digest.

    Raises:
        DownloadError: If it differs.
    """
    name, expected = ("sha256", sha256) if sha256 else ("md5", md5)
    digest = hashlib.new(name, usedforsecurity=False)
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(BLOCK), b"")
        for block in progress(blocks, what=f"checking {name}", total=-(-_length(path) // BLOCK), unit="MB"):
            digest.update(block)
    if (found := digest.hexdigest()) != expected.lower():
        raise DownloadError(f"{path}: {name} of its {_length(path):,} bytes is {found}, expected {expected}")


def _attempt(url: str, part: Path) -> None:
    """One connection: append to `part` until the file ends or the connection breaks."""
    have = _length(part)
    headers = {"User-Agent": "wsss", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        if _range_total(error.headers) == have:  # everything was there already
            return
        part.unlink()
        raise _BrokenOffError(f"the server has no byte {have}; starting again") from None
    with response:
        start = _range_start(response.headers) if response.status == 206 else 0
        if start not in (0, have):
            raise _BrokenOffError(f"asked for byte {have}, the server sent byte {start}")
        given = response.headers.get("Content-Length") or ""
        length = int(given) if given.isdecimal() and len(given) < 19 else -1
        total = start + length if length >= 0 else None
        _check_space(part, total=total, have=start)
        count = -(-length // BLOCK) if total else None
        with part.open("ab" if start else "wb") as file:
            for block in progress(_blocks(response), what="downloading", total=count, unit="MB"):
                file.write(block)
                if file.tell() > MOST_DOWNLOAD_BYTES:
                    advice = f"this is not the archive: delete {part}"
                    raise DownloadError(f"{url}: the server sends more than {MOST_DOWNLOAD_BYTES:,} bytes; {advice}")
        if total is not None and _length(part) != total:
            raise _BrokenOffError(f"the connection ended {total - _length(part):,} bytes early")


def _blocks(response: Any) -> Iterator[bytes]:
    while block := response.read(BLOCK):
        yield block


def _range_start(headers: Any) -> int:
    match = re.match(r"bytes (\d+)-", headers.get("Content-Range") or "")
    return int(match.group(1)) if match else -1


def _range_total(headers: Any) -> int:
    match = re.match(r"bytes \*/(\d+)$", headers.get("Content-Range") or "")
    return int(match.group(1)) if match else -1


def _check_space(part: Path, *, total: int | None, have: int) -> None:
    """The rest of the archive and its contents must fit."""
    if total is not None:
        needed, free = 2 * total - have, shutil.disk_usage(part.parent).free
        if needed > free:
            found = f"{free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed to fetch and unpack"
            raise DownloadError(f"{part.parent}: {found}; make room or choose another folder")


def _unpack(archive: Path, *, inner: str, target: Path) -> None:
    """Unpack beside the target, then move the wanted folder into place: it is there whole or not at all."""
    if not hasattr(tarfile, "data_filter"):
        raise DownloadError("this Python cannot unpack archives safely; use Python 3.11.4 or later")
    scratch = archive.with_name(f".{archive.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            for member in progress(tar, what="unpacking", unit="file"):
                tar.extract(member, scratch, filter="data")
        if not (scratch / inner).is_dir():
            raise DownloadError(f"{archive}: no folder {inner} in it; it is not the archive of VOC 2012")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(scratch / inner, target)
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{archive}: cannot be unpacked: {error}") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
