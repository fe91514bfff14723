"""`nagaya model`: models, prices, step defaults and overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nagaya.llm_gateway.v1 import catalog_service_pb2 as pb
from nagaya.llm_gateway.v1 import generation_service_pb2, model_pb2
from nagaya_client.cli import catalog
from nagaya_client.cli.command import Group
from nagaya_client.cli.session import Session, api_command, limit_option, tenant_option
from nagaya_client.paging import first

if TYPE_CHECKING:
    from google.protobuf.message import Message


@click.group(cls=Group)
def group() -> None:
    """The catalogue: providers, models, prices, and which step uses which."""


@group.command("list", rpcs=("ListModels",))
@limit_option
@api_command
async def list_models(session: Session, limit: int) -> Message:
    """List the models, by id."""
    return await first(session.client.catalog.ListModels, pb.ListModelsRequest(), limit)


@group.command(rpcs=("ListProviders",))
@limit_option
@api_command
async def providers(session: Session, limit: int) -> Message:
    """List the providers, by id."""
    return await first(session.client.catalog.ListProviders, pb.ListProvidersRequest(), limit)


@group.command(rpcs=("ListPrices",))
@click.argument("model_id")
@limit_option
@api_command
async def prices(session: Session, model_id: str, limit: int) -> Message:
    """List a model's prices for a million tokens, latest first."""
    request = pb.ListPricesRequest(model_id=model_id)
    return await first(session.client.catalog.ListPrices, request, limit)


@group.command(rpcs=("ListStepDefaults",))
@limit_option
@api_command
async def defaults(session: Session, limit: int) -> Message:
    """List which model class each step uses, by step."""
    request = pb.ListStepDefaultsRequest()
    return await first(session.client.catalog.ListStepDefaults, request, limit)


@group.command(rpcs=("SetStepDefault",))
@click.argument("step")
@click.argument("provider_id", metavar="PROVIDER")
@click.argument("model_class", metavar="CLASS")
@api_command
async def set_default(session: Session, step: str, provider_id: str, model_class: str) -> Message:
    """Set the provider and class (pro, standard) of a step."""
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    default = model_pb2.StepDefault(step=step, model_class=chosen)
    request = pb.SetStepDefaultRequest(step_default=default)
    return await session.client.catalog.SetStepDefault(request)


@group.command(rpcs=("ListTenantStepOverrides",))
@tenant_option
@limit_option
@api_command
async def overrides(session: Session, tenant: str, limit: int) -> Message:
    """List a tenant's overrides, by step."""
    request = pb.ListTenantStepOverridesRequest(tenant_id=tenant)
    return await first(session.client.catalog.ListTenantStepOverrides, request, limit)


@group.command(rpcs=("SetTenantStepOverride",))
@click.argument("step")
@click.argument("provider_id", metavar="PROVIDER")
@click.argument("model_class", metavar="CLASS")
@tenant_option
@api_command
async def set_override(
    session: Session, step: str, provider_id: str, model_class: str, tenant: str
) -> Message:
    """Set the provider and class of a step for one tenant."""
    chosen = model_pb2.ModelClass(provider_id=provider_id, model_class=model_class)
    override = model_pb2.TenantStepOverride(step=step, model_class=chosen)
    request = pb.SetTenantStepOverrideRequest(tenant_id=tenant, override=override)
    return await session.client.catalog.SetTenantStepOverride(request)


@group.command(rpcs=("DeleteTenantStepOverride",))
@click.argument("step")
@tenant_option
@api_command
async def delete_override(session: Session, step: str, tenant: str) -> Message:
    """Remove a tenant's override: the default counts again."""
    request = pb.DeleteTenantStepOverrideRequest(tenant_id=tenant, step=step)
    return await session.client.catalog.DeleteTenantStepOverride(request)


@group.command(rpcs=("Resolve",))
@click.argument("step")
@click.option("--model", metavar="MODEL|PROVIDER/CLASS", help="As if the request had chosen this.")
@click.option("--run-model", metavar="MODEL|PROVIDER/CLASS", help="As if the run had chosen this.")
@tenant_option
@api_command
async def resolve(
    session: Session, step: str, model: str | None, run_model: str | None, tenant: str
) -> Message:
    """Tell which model a step would use now, and by which rule."""
    request = generation_service_pb2.ResolveRequest(tenant_id=tenant, step=step)
    if model:
        request.model.CopyFrom(catalog.choice(model))
    if run_model:
        request.run_model.CopyFrom(catalog.choice(run_model))
    return await session.client.generations.Resolve(request)


group.add_command(catalog.set_model)
group.add_command(catalog.set_price)
group.add_command(catalog.set_provider)
