"""Pages of other sites: listed ones may send requests and read the answers, others may not."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.kit import Command
from tests.serve.running import Running, running
from tests.serve.test_service import png

import firstlight as fl
from firstlight.serve.access import origin_of

LISTED = "https://a.example"
TOKEN = "a-long-enough-token"


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>elsewhere</title>")

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def site() -> Iterator[str]:
    """Start another site, and yield its origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()


ASK = """async ([address, bytes, headers]) => {
  const body = new Uint8Array(bytes);
  const json = JSON.stringify({ instances: [{ b64: btoa(String.fromCharCode(...bytes)) }] });
  const tries = {
    picture: { body, headers: { "content-type": "image/png", ...headers } },
    plain: { body, headers },
    json: { body: json, headers: { "content-type": "application/json", ...headers } },
    broken: { body: "no picture", headers },
  };
  const found = {};
  for (const [name, asked] of Object.entries(tries)) {
    try {
      const answer = await fetch(address + "/api/predict", { method: "POST", ...asked });
      const values = await answer.json();
      found[name] = answer.ok ? values.predictions[0].answer : answer.status;
    } catch (error) {
      found[name] = error.name;
    }
  }
  try {
    found.runs = (await (await fetch(address + "/api/runs", { headers })).json())[0].name;
  } catch (error) {
    found.runs = error.name;
  }
  return found;
}"""


def asked(browser: Any, origin: str, served: Running, **headers: str) -> dict[str, Any]:
    """Return what a page at ``origin`` gets from the service."""
    content = list(png(fl.load("digits").test.images_NHWC[0]))
    page = browser.new_page()
    page.goto(origin)
    found: dict[str, Any] = page.evaluate(ASK, [served.address, content, headers])
    page.close()
    return found


@pytest.mark.parametrize("token", [None, TOKEN])
def test_in_a_browser_a_listed_site_is_answered_and_another_is_not(
    browser: Any, digits_run: fl.Run, token: str | None
) -> None:
    (expected,) = digits_run.predict(fl.load("digits").test.images_NHWC[:1])
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with (
        site() as listed,
        site() as other,
        running([digits_run], token=token, origins=[listed]) as served,
    ):
        kinds = ("picture", "plain", "json")
        got = asked(browser, listed, served, **headers)
        assert got == {**dict.fromkeys(kinds, expected.answer), "broken": 422, "runs": "digits-1"}
        refused = asked(browser, other, served, **headers)
        assert set(refused.values()) == {"TypeError"}
        if token is not None:
            wrong = asked(browser, listed, served, authorization="Bearer wrong")
            assert wrong["picture"] == 401, "the page can read why"


@pytest.fixture(scope="module")
def served(digits_run: fl.Run) -> Iterator[Running]:
    with running([digits_run], origins=[LISTED, "http://localhost:3000"]) as service:
        yield service


@pytest.mark.parametrize(
    ("origin", "listed"),
    [
        (LISTED, True),
        ("http://localhost:3000", True),
        ("http://a.example", False),
        ("https://a.example:8443", False),
        ("https://a.example.evil.example", False),
        ("https://b.a.example", False),
        ("HTTPS://A.EXAMPLE", False),  # no browser sends this form
        ("null", False),
        ("*", False),
        ("", False),
    ],
)
def test_only_an_origin_that_is_the_same_to_the_letter_is_listed(
    served: Running, origin: str, listed: bool
) -> None:
    content = png(fl.load("digits").test.images_NHWC[0])
    first = {"origin": origin, "access-control-request-method": "POST"}
    with served.client(origin=origin) as client:
        answers = {
            "get": client.get("/v2"),
            "post": client.post("/api/predict", content=content),
            "nowhere": client.get("/api/nothing"),
            "asks first": client.options("/api/predict", headers=first),
        }
    allowed = {n: a.headers.get("access-control-allow-origin") for n, a in answers.items()}
    assert allowed == dict.fromkeys(answers, origin if listed else None)
    assert all("Origin" in a.headers["vary"] for a in answers.values())
    assert answers["get"].status_code == 200
    assert answers["post"].status_code == (200 if listed else 403)
    assert answers["asks first"].status_code == (204 if listed else 403)
    assert not any("access-control-allow-credentials" in a.headers for a in answers.values())


def test_what_a_listed_page_may_send_is_told(served: Running) -> None:
    asks = {
        "origin": LISTED,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,authorization",
    }
    with served.client(**asks) as client:
        answer = client.options("/api/predict")
        assert {"GET", "POST"} <= set(answer.headers["access-control-allow-methods"].split(", "))
        named = answer.headers["access-control-allow-headers"].lower()
        assert all(name in named for name in ("content-type", "authorization", "content-encoding"))
        assert "access-control-allow-private-network" not in answer.headers
        private = {"access-control-request-private-network": "true"}
        answer = client.options("/api/predict", headers=private)
        assert answer.headers["access-control-allow-private-network"] == "true"


def test_asking_first_needs_no_token_and_everything_else_does(digits_run: fl.Run) -> None:
    with running([digits_run], token=TOKEN, origins=[LISTED]) as served:
        asks = {"access-control-request-method": "POST"}
        with served.client() as client:
            for origin, status in ((LISTED, 204), ("https://b.example", 401)):
                headers = {**asks, "origin": origin}
                assert client.options("/api/predict", headers=headers).status_code == status
            headers = {**asks, "origin": LISTED}
            assert client.post("/api/predict", headers=headers).status_code == 401
            assert client.options("/api/predict", headers={"origin": LISTED}).status_code == 401


def test_without_a_listed_site_nothing_is_said_of_origins(digits_run: fl.Run) -> None:
    with running([digits_run]) as served, served.client(origin=LISTED) as client:
        answer = client.get("/v2")
        assert not {"vary", "access-control-allow-origin"} & set(answer.headers)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://a.example", "http://a.example"),
        ("HTTPS://A.Example:443", "https://a.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:5173", "http://[::1]:5173"),
    ],
)
def test_an_origin_is_taken_as_browsers_send_it(text: str, origin: str) -> None:
    assert origin_of(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "a.example", "http://*", "https://*.example", "http://a/", "http://a/b"),
        *("http://a?b", "http://a#b", "http://user@a", "ftp://a", "file://", "http://", ""),
        *("http://a:0", "http://a:99999", "http://a:", "http://a b", "http://a,http://b"),
        *("http://[::1", "http://é.example"),
    ],
)
def test_what_is_no_origin_is_refused_before_anything_is_served(
    text: str, command: Command, digits_run: fl.Run
) -> None:
    with pytest.raises(ValueError):
        origin_of(text)
    if text in ("*", "http://a/", ""):
        refused = command("serve", digits_run.path, "--cors", text)
        assert refused.code == 2
        assert "such as https://a.example" in refused.err
