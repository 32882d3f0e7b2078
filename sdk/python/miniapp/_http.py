"""JSON over one kept-alive connection."""

import http.client
import json
import os
import random
import socket
from typing import Any, Dict, Optional
from urllib.parse import urlsplit


class ApiError(Exception):
    """The API refused a request. `problem` is its problem document."""

    def __init__(self, status: int, problem: Dict[str, Any], retry_after: float):
        self.status, self.problem, self.retry_after = status, problem, retry_after
        self.code: str = problem.get("code", "unknown")
        fields = "; ".join(f"{one['field']} {one['message']}" for one in problem.get("errors", []))
        super().__init__(f"{status} {self.code}: {problem.get('detail') or fields}")

    @property
    def is_temporary(self) -> bool:
        return self.status in (408, 425, 429) or self.status >= 500


class ConnectionFailed(Exception):
    """No response came. The request may have been processed."""

    is_temporary, retry_after, status = True, 0.0, 0


def backoff(failures: int, error: Any) -> float:
    """Returns the seconds before the next try, with jitter."""
    pause = min(30.0, 0.25 * 2.0 ** min(failures, 10)) * random.uniform(0.5, 1.0)
    return max(pause, float(error.retry_after))


def encode(value: Any) -> bytes:
    """Returns compact JSON. Rejects NaN and infinity, which JSON does not have."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


class Connection:
    """A connection to the API. Not for several threads at once."""

    def __init__(self, url: Optional[str], api_key: Optional[str]):
        address = urlsplit(url or os.environ.get("MINIAPP_URL") or "http://127.0.0.1:8000")
        key = api_key or os.environ.get("MINIAPP_API_KEY")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("the URL of the API must begin with http:// or https://")
        if not key:
            raise ValueError("an API key is needed: set MINIAPP_API_KEY or pass api_key")
        is_secure = address.scheme == "https"
        self._kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        self._address, self._prefix = (address.hostname, address.port), address.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json",
                         "User-Agent": "miniapp-python/0.1.0"}
        self._open: Optional[http.client.HTTPConnection] = None

    def call(self, method: str, path: str, body: Optional[bytes] = None, timeout: float = 30.0,
             headers: Optional[Dict[str, str]] = None) -> Any:
        """Returns the JSON of the response. Raises `ApiError` or `ConnectionFailed`."""
        try:
            response, content = self._exchange(
                method, self._prefix + path, body, {**self._headers, **(headers or {})}, timeout)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ConnectionFailed(str(error) or type(error).__name__) from error
        try:
            answer = json.loads(content or b"{}")
        except ValueError:
            answer = {"detail": content[:200].decode("utf-8", "replace")}
        if response.status < 300:
            return answer
        retry_after = response.headers.get("Retry-After", "")
        raise ApiError(response.status, answer, float(retry_after) if retry_after.isdigit() else 0)

    def _exchange(self, method: str, path: str, body: Any, headers: Any, timeout: float) -> Any:
        is_reused = self._open is not None
        opened = self._open = self._open or self._kind(*self._address)
        opened.timeout = timeout
        if opened.sock is not None:
            opened.sock.settimeout(timeout)
        try:
            opened.request(method, path, body, headers)
            response = opened.getresponse()
        except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
            self.close()
            # The server closes idle connections. Then it has not read the request.
            if is_reused:
                return self._exchange(method, path, body, headers, timeout)
            raise
        content = response.read()
        if response.will_close:
            self.close()
        return response, content

    def interrupt(self) -> None:
        """Ends a request of another thread. A response that is on its way still arrives."""
        opened = self._open
        if opened is not None and opened.sock is not None:
            try:
                opened.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None
