"""Remote providers, one module each, written on the official SDKs. An SDK is imported when its first turn begins.

Their table, with the providers of this process, is `PROVIDERS`.
"""

from __future__ import annotations

from workbench.provider_table import PROVIDERS, ProviderRow

__all__ = ["PROVIDERS", "ProviderRow"]
