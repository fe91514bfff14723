"""`nagaya model set-price`: no cached token is booked as if it cost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nagaya.llm_gateway.v1 import catalog_service_pb2, model_pb2
from nagaya_client.cli.main import run

if TYPE_CHECKING:
    from tests.unit.client.api import Api

pytestmark = pytest.mark.usefixtures("here")
SET = ("model", "set-price", "m-1", "--input-usd", "3", "--output-usd", "15")


def test_a_cache_price_that_is_not_given_is_that_of_input_and_is_reported(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    api.on("SetPrice", catalog_service_pb2.SetPriceResponse())

    assert run([*SET, "--cache-read-usd", "0.3"]) == 0
    (sent,) = [call.request.price for call in api.called("SetPrice")]
    assert (sent.cache_read_micro_usd, sent.cache_write_micro_usd) == (300_000, 3_000_000)
    assert capsys.readouterr().err == "--cache-write-usd is not given: as input, $3.0000\n"


def test_cached_tokens_may_be_free_when_somebody_says_so(api: Api) -> None:
    api.on("SetPrice", catalog_service_pb2.SetPriceResponse())

    assert run([*SET, "--cache-read-usd", "0", "--cache-write-usd", "0"]) == 0
    (sent,) = [call.request.price for call in api.called("SetPrice")]
    assert (sent.cache_read_micro_usd, sent.cache_write_micro_usd) == (0, 0)


def test_amounts_are_named_without_the_unit_in_which_they_travel(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    price = model_pb2.Price(model_id="m-1", input_micro_usd=3_000_000)
    api.on("SetPrice", catalog_service_pb2.SetPriceResponse(price=price))

    assert run([*SET]) == 0
    out = capsys.readouterr().out
    assert "input per million tokens" in out
    assert "$3.0000" in out
    assert "micro" not in out
