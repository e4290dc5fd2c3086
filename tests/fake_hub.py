"""A stand-in for the Hugging Face Hub on 127.0.0.1: the part of its API that pushing and fetching a model need."""

import base64
import contextlib
import hashlib
import http.server
import json
import re

from serving import serving


class FakeHub:
    """Repositories of files in memory. `refuse`, an HTTP status, answers every request."""

    def __init__(self):
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.objects: dict[str, bytes] = {}  # of large files, by SHA-256
        self.tokens: set[str | None] = set()  # that clients sent
        self.refuse: int | None = None
        self.address = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _answer(self, body=b"", status=200, headers=()):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _handle(self):
        hub, path = self.server.hub, self.path.partition("?")[0]
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        token = self.headers.get("Authorization")
        hub.tokens.add(token)
        if hub.refuse:
            reason = f"refused, as you sent {token}"
            self._answer({"error": reason}, status=hub.refuse, headers=[("X-Error-Message", reason)])
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'someone'}/{wanted['name']}"
            hub.repositories.setdefault(name, {})
            self._answer({"url": f"{hub.address}/{name}"})
        elif path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/api/models/(.+?)/preupload/main", path):
            modes = [
                (f["path"], "lfs" if f["path"].endswith("safetensors") else "regular")
                for f in json.loads(body)["files"]
            ]
            self._answer({"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes]})
        elif path.endswith("/info/lfs/objects/batch"):
            where = f"{hub.address}/lfs"
            wanted = json.loads(body)["objects"]
            objects = [{**o, "actions": {"upload": {"href": f"{where}/{o['oid']}"}}} for o in wanted]
            self._answer({"objects": objects, "transfer": "basic"})
        elif match := re.fullmatch(r"/lfs/(\w+)", path):
            assert hashlib.sha256(body).hexdigest() == match[1]
            hub.objects[match[1]] = body
            self._answer()
        elif match := re.fullmatch(r"/api/models/(.+?)/commit/main", path):
            self._commit(hub.repositories[match[1]], [json.loads(line) for line in body.splitlines()])
            self._answer({"commitUrl": f"{hub.address}/{match[1]}/commit/{'0' * 40}", "commitOid": "0" * 40})
        elif match := re.fullmatch(r"/(.+?)/resolve/main/(.+)", path):
            self._resolve(hub.repositories.get(match[1]), match[2])
        else:
            self._answer({"error": "no such address"}, status=404)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _commit(self, files, lines):
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.hub.objects[value["oid"]]

    def _resolve(self, files, name):
        if files is None or name not in files:
            code = "RepoNotFound" if files is None else "EntryNotFound"
            self._answer({"error": code}, status=404, headers=[("X-Error-Code", code), ("X-Repo-Commit", "0" * 40)])
            return
        etag = hashlib.sha256(files[name]).hexdigest()
        self._answer(files[name], headers=[("X-Repo-Commit", "0" * 40), ("ETag", f'"{etag}"')])


@contextlib.contextmanager
def serve():
    """Serves a FakeHub until the `with` block ends."""
    hub = FakeHub()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.hub, hub.address = hub, f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield hub
