"""Commands of `nagaya model` that change entries of the catalogue; values not given stay."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya.llm_gateway.v1 import model_pb2
from nagaya_client.cli import values
from nagaya_client.cli.command import Command
from nagaya_client.cli.session import Session, api_command, choice_of, chosen
from nagaya_client.paging import pages

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from nagaya_client.client import Client


def choice(text: str) -> model_pb2.ModelChoice:
    """Read a model's id, or `provider/class`."""
    provider_id, slash, model_class = text.partition("/")
    if not slash:
        return model_pb2.ModelChoice(model_id=text)
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    return model_pb2.ModelChoice(model_class=chosen)


class Dollars(click.ParamType[int]):
    """Dollars and cents as millionths of a dollar."""

    name = "USD"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            micro = Decimal(value) * 1_000_000
        except InvalidOperation:
            self.fail(f"{value} is no amount of dollars", param, ctx)
        if micro < 0 or micro != micro.to_integral_value():
            self.fail(f"{value} is no whole number of millionths of a dollar", param, ctx)
        return int(micro)


@click.command("set", cls=Command, rpcs=("SetModel",))
@click.argument("model_id")
@click.option("--provider", "provider_id", help="The provider's id.")
@click.option("--name", "model_name", help="The model's name at the provider.")
@click.option("--class", "model_class", help="pro or standard.")
@click.option("--active/--inactive", default=None, help="Whether it may be used.")
@click.option("--max-input-tokens", type=int, help="The most that a request may have.")
@click.option("--max-output-tokens", type=int, help="The most that a reply may have.")
@click.option("--json-schema/--no-json-schema", default=None, help="Whether replies can fit one.")
@click.option("--temperature/--no-temperature", default=None, help="Whether one may be given.")
@click.option("--reasoning-headroom-tokens", type=int, help="Added to a limit for reasoning.")
@api_command
async def set_model(session: Session, model_id: str, **given: str | int | None) -> Message:
    """Create a model, or change what is given of it."""
    model = await _find_model(session.client, model_id)
    for name, value in given.items():
        if value is not None:
            in_model = name in model_pb2.Model.DESCRIPTOR.fields_by_name
            setattr(model if in_model else model.capabilities, name, value)
    return await session.client.catalog.SetModel(pb.SetModelRequest(model=model))


@click.command("set-provider", cls=Command, rpcs=("SetProvider",))
@click.argument("provider_id")
@click.option("--name", "display_name", help="The name shown to people.")
@click.option("--base-url", "api_base_url", help="Where its API is; '' for its own address.")
@click.option("--wire-format", type=choice_of(model_pb2.WireFormat), help="What it speaks.")
@click.option("--active/--inactive", default=None, help="Whether its models may be used.")
@api_command
async def set_provider(
    session: Session, provider_id: str, wire_format: str | None, **given: str | int | None
) -> Message:
    """Create a provider, or change what is given of it."""
    provider = await _find_provider(session.client, provider_id)
    if wire_format:
        provider.wire_format = chosen(model_pb2.WireFormat, wire_format)
    for name, value in given.items():
        if value is not None:
            setattr(provider, name, value)
    return await session.client.catalog.SetProvider(pb.SetProviderRequest(provider=provider))


@click.command("set-price", cls=Command, rpcs=("SetPrice",))
@click.argument("model_id")
@click.option(
    "--input-usd", "input_micro_usd", type=Dollars(), required=True, help="For input read anew."
)
@click.option(
    "--output-usd",
    "output_micro_usd",
    type=Dollars(),
    required=True,
    help="For output, reasoning included.",
)
@click.option(
    "--cache-read-usd",
    "cache_read_micro_usd",
    type=Dollars(),
    help="For input read from the cache; as input when absent.",
)
@click.option(
    "--cache-write-usd",
    "cache_write_micro_usd",
    type=Dollars(),
    help="For input written to the cache; as input when absent.",
)
@click.option(
    "--from",
    "since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="From when on it counts, in UTC; from now on when absent.",
)
@click.option("--min-input-tokens", type=int, default=0, help="Only for prompts this long.")
@api_command
async def set_price(
    session: Session, model_id: str, since: datetime | None, **amounts: int | None
) -> Message:
    """Add a price, in dollars for a million tokens."""
    price = model_pb2.Price(model_id=model_id)
    for name, amount in amounts.items():
        # A cached token without a price of its own is never booked as if it cost nothing.
        setattr(price, name, amounts["input_micro_usd"] if amount is None else amount)
        if amount is None:
            option = name.replace("_micro", "").replace("_", "-")
            click.echo(
                f"--{option} is not given: as input, {values.money(price.input_micro_usd)}",
                err=True,
            )
    moment = since.replace(tzinfo=UTC) if since else datetime.now(UTC)
    price.effective_time.FromDatetime(moment)
    return await session.client.catalog.SetPrice(pb.SetPriceRequest(price=price))


async def _find_model(client: Client, model_id: str) -> model_pb2.Model:
    async for page in pages(client.catalog.ListModels, pb.ListModelsRequest(page_size=200)):
        for model in page.models:
            if model.model_id == model_id:
                return model
    return model_pb2.Model(model_id=model_id, active=True)


async def _find_provider(client: Client, provider_id: str) -> model_pb2.Provider:
    request = pb.ListProvidersRequest(page_size=200)
    async for page in pages(client.catalog.ListProviders, request):
        for provider in page.providers:
            if provider.provider_id == provider_id:
                return provider
    return model_pb2.Provider(provider_id=provider_id, active=True)
