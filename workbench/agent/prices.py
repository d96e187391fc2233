"""What a turn costs, from a price list that is installed and asks no network."""

from __future__ import annotations

from workbench.events import Usage
from workbench.provider_table import PROVIDERS


def priced(provider: str, model: str, usage: Usage, *, cache_write_tokens: int = 0) -> Usage:
    """`usage` with its cost in US dollars; 0 where the list does not know the model.

    Args:
        cache_write_tokens: of the input, those that were written to the provider's cache at its own price.
    """
    row = PROVIDERS.get(provider)
    if row is None or not row.price_id or not model:
        return usage
    from genai_prices import Usage as Counted
    from genai_prices import calc_price

    counted = Counted(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_write_tokens=cache_write_tokens,
    )
    try:
        price = calc_price(counted, model_ref=model, provider_id=row.price_id)
    except (LookupError, ValueError):  # not on the list, or counts that contradict each other
        return usage
    return Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        cost_usd=float(price.total_price),
    )
