"""One verified file from the first mirror that has it."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import warnings
from pathlib import Path


class DataError(RuntimeError):
    """The data can't be used; the message says what to do."""


class MirrorsFailed(DataError):
    """No mirror gave the file that was asked for; the message has each one's reason."""


def sha256(path: Path) -> str | None:
    """SHA-256 of a file, in hexadecimal; `None` where there is no readable file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def fetch(path: Path, digest: str, urls: list[str], *, timeout: float) -> None:
    """Download `path` from the first of `urls` whose content has the SHA-256 `digest`.

    The bytes go to a temporary file beside `path`, which takes its place only when they are verified: a broken
    download leaves what was there, and of two processes that download at once the later one replaces equal bytes.

    Raises:
        MirrorsFailed: no mirror gave the file.
        DataError: the folder can't be written to, or the disk is full.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm's, which pooch imports, that Jupyter has no widgets: ours is plain text
        import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # a lecture prints its own one line
    reasons, new = [], [folder for folder in path.parents if not folder.exists()]
    for url in urls:
        answers = []  # pooch leaves them open where it fails
        keep = {"response": lambda answer, answers=answers, **_: answers.append(answer)}
        # A progress bar is for a terminal; in a page it would leave rows of characters.
        download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=timeout, hooks=keep)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(url, f"sha256:{digest}", fname=path.name, path=path.parent, downloader=download)
            path.chmod(0o644)  # a temporary file is its owner's only; a folder of data is often shared
            return
        except requests.RequestException as error:
            response = getattr(error, "response", None)
            answer = f"answered {response.status_code}" if response is not None else type(error).__name__
            reasons.append(f"{url}: {answer}")
        except ValueError:  # pooch: the checksum is wrong
            reasons.append(f"{url}: what it sent is not the file, its checksum differs")
        except OSError as error:  # after RequestException, which is an OSError too
            raise DataError(
                f"can't write {path}: {error}.  Make room there, or set DGM_DATA to a folder that can be written to, "
                f"or to one that already has MNIST/raw/{path.name}."
            ) from error
        finally:
            for answer in answers:
                answer.close()
    for folder in new:  # an attempt that brought nothing leaves nothing
        with contextlib.suppress(OSError):
            folder.rmdir()
    advice = f"Put MNIST's four .gz files into {path.parent}, or set DGM_DATA to a folder that has them in MNIST/raw."
    raise MirrorsFailed("\n".join([f"No mirror gave {path.name}.  {advice}", *reasons]))
