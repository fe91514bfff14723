"""Browsers through Envoy: gRPC-Web and CORS, and what stays refused."""

from __future__ import annotations

import http.client
import struct
from typing import TYPE_CHECKING

import grpc
import pytest
from tests.integration.local.backends import ANSWER, GET, SERVICE, WATCH, Backend

from nagaya_local.clone.choices import Choices
from nagaya_local.envoy.bootstrap import Address, ProxiedService
from nagaya_local.envoy.contracts import methods_of
from nagaya_local.errors import EnvironmentInvalid
from nagaya_local.machine.ports import free_port
from nagaya_local.machine.running import running_from_sync
from nagaya_local.origins import read_origins
from nagaya_local.parts.envoy import EnvoyServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PAGE = "https://app.example.com"
LOCAL = "http://localhost:5173"
STRANGER = "https://app.example.com.evil.test"
ORIGINS = read_origins((PAGE, "http://localhost:*"))
WEB = "application/grpc-web+proto"
EMPTY = struct.pack(">BI", 0, 0)
TRAILERS = 0x80


@pytest.fixture(scope="module")
def web_listen() -> Address:
    return Address("127.0.0.1", free_port())


@pytest.fixture(scope="module")
def web_started(web_listen: Address, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("an envoy for pages")
    server = Address("127.0.0.1", free_port())
    methods = methods_of("nagaya.runs.v1")
    front = ProxiedService("runs", web_listen, (server,), methods, web_origins=ORIGINS)
    backend = Backend(server.port)
    backend.start()
    with running_from_sync(EnvoyServer(folder, (front,), free_port()), folder / "envoy.log"):
        yield backend
    backend.stop()


@pytest.fixture
def web_backend(web_started: Backend) -> Backend:
    web_started.failures = 0
    web_started.code = grpc.StatusCode.UNAVAILABLE
    web_started.calls.clear()
    return web_started


class Response:
    """What a page gets to see of a call."""

    def __init__(self, received: http.client.HTTPResponse) -> None:
        self.status = received.status
        self.headers = {name.lower(): value for name, value in received.getheaders()}
        self.messages: list[bytes] = []
        self.trailers: dict[str, str] = {}
        body = received.read()
        while body:
            flags, size = struct.unpack_from(">BI", body)
            content, body = body[5 : 5 + size], body[5 + size :]
            if flags & TRAILERS:
                lines = (line.partition(":") for line in content.decode().splitlines())
                self.trailers = {name: value.strip() for name, _, value in lines}
            else:
                self.messages.append(content)

    @property
    def exposed(self) -> set[str]:
        return set(self.headers.get("access-control-expose-headers", "").split(", "))

    def trailer(self, name: str) -> str | None:
        """A trailer, wherever it came: as a header only where pages may read it."""
        if name in self.trailers:
            return self.trailers[name]
        return self.headers.get(name) if name in self.exposed else None


class Page:
    """A page of some origin, which a browser lets call the service."""

    def __init__(self, listen: Address, origin: str) -> None:
        self._listen = listen
        self._origin = origin

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        connection = http.client.HTTPConnection(self._listen.host, self._listen.port, timeout=20)
        try:
            connection.request(method, path, body, {"origin": self._origin, **headers})
            return Response(connection.getresponse())
        finally:
            connection.close()

    def call(self, path: str, content_type: str = WEB, **headers: str) -> Response:
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, {"content-type": content_type, **own}, EMPTY)

    def preflight(self, path: str = GET) -> Response:
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-grpc-web",
        }
        return self.request("OPTIONS", path, asked, b"")


@pytest.mark.parametrize("origin", [PAGE, LOCAL, "http://localhost"])
def test_a_page_of_an_allowed_origin_may_call(
    web_backend: Backend, web_listen: Address, origin: str
) -> None:
    answer = Page(web_listen, origin).preflight()

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "POST"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "content-type", "grpc-timeout", "x-grpc-web"} <= set(allowed)
    assert "access-control-allow-credentials" not in answer.headers
    assert web_backend.calls == []


@pytest.mark.parametrize(
    "origin", [STRANGER, "http://app.example.com", "http://localhost.evil.test:80", "null"]
)
def test_a_page_of_another_origin_may_not(
    web_backend: Backend, web_listen: Address, origin: str
) -> None:
    page = Page(web_listen, origin)

    assert "access-control-allow-origin" not in page.preflight().headers
    assert web_backend.calls == []  # the preflight is Envoy's to answer
    assert "access-control-allow-origin" not in page.call(GET).headers


def test_a_page_gets_message_and_trailers(web_backend: Backend, web_listen: Address) -> None:
    answer = Page(web_listen, PAGE).call(GET, authorization="Bearer t", x_request_id="r1")

    assert (answer.status, answer.messages) == (200, [ANSWER])
    assert answer.headers["content-type"] == WEB
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.trailer("grpc-status") == "0"
    assert web_backend.headers["authorization"] == "Bearer t"
    assert web_backend.headers["x-request-id"] == "r1"


def test_a_page_may_read_a_refusal(web_backend: Backend, web_listen: Address) -> None:
    web_backend.failures, web_backend.code = 1, grpc.StatusCode.RESOURCE_EXHAUSTED

    answer = Page(web_listen, PAGE).call(GET)

    assert answer.trailer("grpc-status") == "8"
    assert answer.trailer("grpc-message") == "not now"
    assert {"grpc-status-details-bin", "grpc-retry-pushback-ms", "x-request-id"} <= answer.exposed


def test_a_page_reads_a_stream_while_it_grows(web_backend: Backend, web_listen: Address) -> None:
    connection = http.client.HTTPConnection(web_listen.host, web_listen.port, timeout=20)
    connection.request("POST", WATCH, EMPTY, {"origin": PAGE, "content-type": WEB})
    stream = connection.getresponse()

    frame = struct.pack(">BI", 0, len(ANSWER)) + ANSWER
    assert [stream.read(len(frame)) for _ in range(5)] == [frame] * 5
    connection.close()
    assert web_backend.calls == [WATCH]


def test_what_a_page_says_of_its_caller_never_arrives(
    web_backend: Backend, web_listen: Address
) -> None:
    said = {
        "x_forwarded_client_cert": "Subject=admin",
        "x_nagaya_tenant": "globex",
        "x_user_id": "admin",
        "x_envoy_max_retries": "50",
    }
    Page(web_listen, PAGE).call(GET, **said)

    assert not set(said.values()).intersection(web_backend.headers.values())


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/proto", "application/grpc-web+json", f"{WEB}; charset=utf-8"],
)
def test_what_is_not_translated_does_not_reach_a_server(
    web_backend: Backend, web_listen: Address, content_type: str
) -> None:
    assert Page(web_listen, PAGE).call(GET, content_type).status == 404
    assert web_backend.calls == []


def test_a_page_calls_methods_of_the_contract_only(
    web_backend: Backend, web_listen: Address
) -> None:
    assert Page(web_listen, PAGE).call(f"{SERVICE}/DropEverything").status == 404
    assert web_backend.calls == []


def test_no_server_is_asked_for_its_options(web_backend: Backend, web_listen: Address) -> None:
    assert Page(web_listen, PAGE).request("OPTIONS", GET, {}, b"").status == 404
    assert web_backend.calls == []


def test_a_page_that_sends_a_thousand_headers_is_refused(
    web_backend: Backend, web_listen: Address
) -> None:
    many = {f"h{number}": "x" for number in range(1001)}

    assert Page(web_listen, PAGE).call(GET, **many).status == 431
    assert web_backend.calls == []


@pytest.mark.usefixtures("web_backend")
def test_the_same_listener_still_speaks_grpc(web_listen: Address) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{web_listen.port}") as channel:
        assert channel.unary_unary(GET)(b"", timeout=20) == ANSWER
        watch = channel.unary_stream(WATCH)(b"", timeout=60)
        assert [next(watch) for _ in range(3)] == [ANSWER] * 3
        watch.cancel()
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(f"{SERVICE}/DropEverything")(b"", timeout=20)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.usefixtures("backend")
def test_where_no_origin_is_allowed_nothing_but_http_2_is_spoken(listen: Address) -> None:
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        Page(listen, PAGE).preflight()


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "app.example.com",
        f"{PAGE}/",
        f"{PAGE}/page",
        "https://*.example.com",
        "ftp://x",
        PAGE.upper(),
    ],
)
def test_what_is_no_origin_is_refused_with_its_form(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin of a page: write"):
        read_origins((origin,))


def test_the_stack_lets_pages_of_this_machine_call_or_those_of_its_setting() -> None:
    def origins(**environment: str) -> tuple[str, ...]:
        return Choices.read(environment, {}).web_origins

    assert origins() == ("http://localhost:*", "http://127.0.0.1:*")
    assert origins(NAGAYA_WEB_ORIGINS=f"{PAGE}, {LOCAL}") == (PAGE, LOCAL)
    assert origins(NAGAYA_WEB_ORIGINS="none") == ()
    with pytest.raises(EnvironmentInvalid, match=r"NAGAYA_WEB_ORIGINS: .* is no origin of a page"):
        origins(NAGAYA_WEB_ORIGINS="https://app.example.com/page")
