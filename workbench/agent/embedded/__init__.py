"""The embedded language model: Qwen2.5-Coder-1.5B in a child process, no key and no network once pulled."""

from __future__ import annotations

import importlib.util

from workbench.agent.embedded.download import DownloadCancelledError, pull
from workbench.agent.embedded.embedded_provider import EmbeddedProvider
from workbench.agent.embedded.weights import MODEL, SHA256, SIZE, ModelWeightsError, find, verify
from workbench.agent.provider import ProviderError, ProviderStatus
from workbench.config import Settings

__all__ = [
    "MODEL",
    "SHA256",
    "SIZE",
    "DownloadCancelledError",
    "EmbeddedProvider",
    "ModelWeightsError",
    "build",
    "find",
    "pull",
    "status",
    "verify",
]


def status(settings: Settings) -> ProviderStatus:
    """Whether the model could answer now, or what to do so that it can."""
    path = find(settings)
    runtime = importlib.util.find_spec("xllamacpp") is not None
    if path is None:
        why = f"The model is not pulled. Run `workbench model pull` ({SIZE / 1e9:.1f} GB, once)."
    elif not runtime:
        why = "The model is pulled, but its runtime is not installed. Install the extra `llm` (xllamacpp)."
    else:
        why = (
            f"the embedded model is pulled: {MODEL}, a small language model in a process of its own; "
            "the planner's reading of the question narrows and suggests what it may choose"
        )
    return ProviderStatus(name="embedded", ready=path is not None and runtime, model=MODEL, why=why)


def build(settings: Settings) -> EmbeddedProvider:
    """The provider over the pulled weights. Nothing is loaded before the first turn.

    Raises:
        ProviderError: the weights or the runtime are missing.
    """
    path = find(settings)
    found = status(settings)
    if path is None or not found.ready:
        raise ProviderError("not_installed", found.why)
    return EmbeddedProvider(path)
