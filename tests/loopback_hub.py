"""A hub on loopback that speaks what `huggingface_hub` asks of one when it downloads a dataset repository.

    GET  /api/datasets/<repo>[/revision/<rev>]      the commit that the default branch or a revision stands at
    GET  /api/datasets/<repo>/tree/<commit>         the files
    HEAD /datasets/<repo>/resolve/<commit>/<path>   size, ETag, commit
    GET  /datasets/<repo>/resolve/<commit>/<path>   the bytes

What it lacks it answers as the real one does, by the header X-Error-Code. It keeps a list of all requests.
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class Repo:
    """One dataset repository."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by path, by commit hash."""
    refs: dict[str, str] = field(default_factory=dict)
    """Commit by branch or tag; `main` is the default branch."""

    def push(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Commit files and let a ref stand there."""
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[commit] = files
        self.refs[ref] = commit
        return commit


@dataclass
class Hub:
    """Repositories by name, and what was asked for."""

    repos: dict[str, Repo] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    truncated: set[str] = field(default_factory=set)
    """Paths of which only half is sent, as by a broken connection."""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path without its query."""
        parts = unquote(path).strip("/").split("/")
        api = parts[0] == "api"
        name = "/".join(parts[2:4] if api else parts[1:3])
        rest = parts[4:] if api else parts[3:]
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if name not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        repo = self.repos[name]
        kind, wanted = (rest[0], "/".join(rest[1:]) if api else rest[1]) if rest else ("revision", "main")
        commit = repo.refs.get(wanted, wanted)
        if commit not in repo.commits:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        if kind == "revision":
            return 200, {}, json.dumps({"id": name, "sha": commit}).encode()
        files = repo.commits[commit]
        if kind == "tree":
            tree = [{"type": "file", "path": p, "size": len(b), "oid": _sha1(b)} for p, b in files.items()]
            return 200, {}, json.dumps(tree).encode()
        file = "/".join(rest[2:])
        if file not in files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        return 200, {"X-Repo-Commit": commit, "ETag": f'"{_sha1(files[file])}"'}, files[file]


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def repo_files(folder: Path) -> dict[str, bytes]:
    """All files of a folder, and the one that the hub itself adds."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return found | {".gitattributes": b"*.parquet filter=lfs\n"}


@contextlib.contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Answer on 127.0.0.1 until the block ends; the URL is what HF_ENDPOINT takes."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            hub.asked.append(f"{self.command} {path}")
            status, headers, body = hub.answer(path)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            cut = any(path.endswith(name) for name in hub.truncated)
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # a kept-open connection must not hold up the end
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        hub.url = f"http://127.0.0.1:{server.server_port}"
        yield hub.url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
