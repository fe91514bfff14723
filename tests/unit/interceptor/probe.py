"""A contract of the tests' own: one method of each shape, and what a test wants it to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from buf.validate import validate_pb2
from interceptor.server import Binding
from nagaya.options.v1 import method_policy_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from google.protobuf.message import Message

    class Request(Message):
        tenant_id: str
        text: str

        def __init__(
            self, *, tenant_id: str = "", text: str = "", parts: Iterable[Request] = ()
        ) -> None: ...

    class Answer(Message):
        tenant_id: str
        text: str

        def __init__(self, *, tenant_id: str = "", text: str = "") -> None: ...


PACKAGE = "nagaya.probe.v1"
SERVICE = f"{PACKAGE}.ProbeService"
DOMAIN = "probe.nagaya.dev"
MAX_SECONDS = 2

LONG_SECONDS = 60

_SHAPES = {
    "Ask": (False, False),
    "Wait": (False, False),
    "Watch": (False, True),
    "Follow": (False, True),
    "Send": (True, False),
    "Talk": (True, True),
}
_FACTORIES: dict[str, Callable[..., Any]] = {
    "Ask": grpc.unary_unary_rpc_method_handler,
    "Wait": grpc.unary_unary_rpc_method_handler,
    "Watch": grpc.unary_stream_rpc_method_handler,
    "Follow": grpc.unary_stream_rpc_method_handler,
    "Send": grpc.stream_unary_rpc_method_handler,
    "Talk": grpc.stream_stream_rpc_method_handler,
}


def declare(package: str, **methods: Callable[[descriptor_pb2.MethodOptions], None]) -> str:
    """Add a contract `<package>.ProbeService` with these methods' options; return its name."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package.replace('.', '/')}/probe.proto",
        package=package,
        syntax="proto3",
        dependency=["buf/validate/validate.proto", "nagaya/options/v1/method_policy.proto"],
    )
    request, answer = file.message_type.add(name="Request"), file.message_type.add(name="Answer")
    for message in (request, answer):
        for number, name in enumerate(("tenant_id", "text"), 1):
            message.field.add(name=name, number=number, type=9, label=1, json_name=name)
    text = validate_pb2.StringRules(max_len=10, not_in=["forbidden"])
    request.field[1].options.Extensions[validate_pb2.field].string.CopyFrom(text)
    part = f".{package}.Request"
    request.field.add(name="parts", number=3, type=11, label=3, type_name=part, json_name="parts")
    request.field[2].options.Extensions[validate_pb2.field].repeated.max_items = 100
    service = file.service.add(name="ProbeService")
    for name, options in methods.items():
        method = service.method.add(name=name)
        method.input_type, method.output_type = f".{package}.Request", f".{package}.Answer"
        method.client_streaming, method.server_streaming = _SHAPES[name]
        options(method.options)
    pool: Any = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return f"{package}.ProbeService"


def usual(options: descriptor_pb2.MethodOptions) -> None:
    """The options of a method that is as it should be."""
    options.idempotency_level = descriptor_pb2.MethodOptions.IDEMPOTENT
    policy = options.Extensions[method_policy_pb2.policy]
    policy.permission = "probe.use"
    policy.tenant_field = "tenant_id"
    policy.audit_action = "probe.use"
    policy.workloads.append("runs")
    policy.max_seconds = MAX_SECONDS


def long(options: descriptor_pb2.MethodOptions) -> None:
    """The options of a method that a slow machine does not end."""
    usual(options)
    options.Extensions[method_policy_pb2.policy].max_seconds = LONG_SECONDS


def unrepeatable(options: descriptor_pb2.MethodOptions) -> None:
    long(options)
    options.idempotency_level = descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN


if not TYPE_CHECKING:
    declare(
        PACKAGE,
        Ask=usual,
        Wait=long,
        Watch=usual,
        Follow=long,
        Send=unrepeatable,
        Talk=usual,
    )
    Request, Answer = (
        message_factory.GetMessageClass(
            descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{name}")
        )
        for name in ("Request", "Answer")
    )


def binding(
    *,
    max_request_bytes: int = 1 << 20,
    parse: Callable[[bytes], Request] | None = None,
    service: str = SERVICE,
    **behaviours: Callable[[Any, Any], object],
) -> Binding:
    """Bind behaviours to the contract's methods: `binding(Ask=…, Watch=…)`."""
    handlers = {
        name: _FACTORIES[name](
            behaviour,
            request_deserializer=parse or Request.FromString,
            response_serializer=Answer.SerializeToString,
        )
        for name, behaviour in behaviours.items()
    }
    return Binding(service, handlers, max_request_bytes)


class Stub:
    """The client's side; with `raw` the requests are bytes as they go over the wire."""

    def __init__(self, channel: grpc.aio.Channel, *, raw: bool = False) -> None:
        serialize: Any = None if raw else Request.SerializeToString
        parse = Answer.FromString
        path = f"/{SERVICE}/"
        self.ask: Callable[..., Any] = channel.unary_unary(f"{path}Ask", serialize, parse)
        self.wait: Callable[..., Any] = channel.unary_unary(f"{path}Wait", serialize, parse)
        self.watch: Callable[..., Any] = channel.unary_stream(f"{path}Watch", serialize, parse)
        self.follow: Callable[..., Any] = channel.unary_stream(f"{path}Follow", serialize, parse)
        self.send: Callable[..., Any] = channel.stream_unary(f"{path}Send", serialize, parse)
        self.talk: Callable[..., Any] = channel.stream_stream(f"{path}Talk", serialize, parse)


async def echo(request: Request, _: object) -> Answer:
    return Answer(tenant_id=request.tenant_id, text=request.text)


async def echo_each(requests: AsyncIterator[Request], _: object) -> AsyncIterator[Answer]:
    async for request in requests:
        yield Answer(tenant_id=request.tenant_id, text=request.text)


async def join(requests: AsyncIterator[Request], _: object) -> Answer:
    return Answer(text="".join([request.text async for request in requests]))


async def sending(*messages: Request | bytes) -> AsyncIterator[Request | bytes]:
    for message in messages:
        yield message


async def read(stream: AsyncIterator[Answer]) -> list[Answer]:
    return [message async for message in stream]
