"""A call that waits for a human, as an MCP client is told that can show its user a page (client/elicitation, URL mode).

At 2026-07-28 the call is answered with `input_required` and a URL, and made again; at 2025-11-25 with the error -32042.
That a client opened the page is no approval: who decides is asked there who they are.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.responses import JSON_TYPE, EndpointResponse, summary
from workbench.events import JSON, Call, Outcome
from workbench.gateway.approval_gate import APPROVAL_KEY
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.negotiation import CAPABILITIES_KEY

PAGE: Final = "/approvals/"
URL_ELICITATION_REQUIRED: Final = -32042
"""Of 2025-11-25; no revision since has it."""


def say_approval(
    id: Any, outcome: Outcome, call: Call, resource: str, respondent: ClientResponder | None, *, modern: bool
) -> EndpointResponse | None:
    """The answer that sends the user of a client to the page; None where the client can show none.

    Args:
        id: of the request.
        outcome: of the call, which waits for an approval.
        call: as it was made.
        resource: URL of the endpoint.
        respondent: an older client, with what it declared.
    """
    approval = outcome.details.get("approval")
    if not isinstance(approval, str) or not shows_pages(call, respondent, modern=modern):
        return None
    here = urlsplit(resource)
    asked: JSON = {
        "mode": "url",
        "url": f"{here.scheme}://{here.netloc}{PAGE}{approval}",
        "message": f"{outcome.message} Somebody who may decide it can do so on this page.",
    }
    meta = {"workbench/outcome": summary(outcome)}
    if modern:
        questions = {APPROVAL_KEY: {"method": "elicitation/create", "params": asked}}
        told = {"resultType": "input_required", "inputRequests": questions, "_meta": meta}
        return EndpointResponse(200, [JSON_TYPE], jsonrpc.result(id, told))
    data = {"elicitations": [{**asked, "elicitationId": approval}], **meta}
    return EndpointResponse(
        200, [JSON_TYPE], jsonrpc.error(id, URL_ELICITATION_REQUIRED, outcome.message, data, cleared=True)
    )


def shows_pages(call: Call, respondent: ClientResponder | None, *, modern: bool) -> bool:
    """Whether the client declared that it can send its user to a URL."""
    if modern:
        declared = (call.meta.get("_meta") or {}).get(CAPABILITIES_KEY)
    else:
        declared = respondent.capabilities if respondent and call.protocol == "2025-11-25" else None
    elicitation = declared.get("elicitation") if isinstance(declared, dict) else None
    return isinstance(elicitation, dict) and isinstance(elicitation.get("url"), dict)
