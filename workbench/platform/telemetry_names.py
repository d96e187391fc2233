"""Names of spans, metrics and attributes: OpenTelemetry semantic conventions for GenAI and MCP, in one place.

The conventions are in development (`open-telemetry/semantic-conventions-genai`): when a name changes there, it changes
here and nowhere else; the names of providers are in `workbench.provider_table`. What they have no name for begins with
`workbench.`.
"""

from __future__ import annotations

from typing import Final

METHOD: Final = "mcp.method.name"
SESSION: Final = "mcp.session.id"
PROTOCOL: Final = "mcp.protocol.version"
OPERATION: Final = "gen_ai.operation.name"
TOOL: Final = "gen_ai.tool.name"
AGENT: Final = "gen_ai.agent.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
CONVERSATION: Final = "gen_ai.conversation.id"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"
ERROR: Final = "error.type"

TENANT: Final = "workbench.tenant"
USER: Final = "workbench.user"
SERVER: Final = "workbench.server"
SOURCE: Final = "workbench.source"
REQUEST: Final = "workbench.request_id"
OUTCOME: Final = "workbench.outcome"
DECISION: Final = "workbench.policy.decision"
RULE: Final = "workbench.policy.rule"
REVISION: Final = "workbench.policy.revision"
REDACTIONS: Final = "workbench.redactions"
COST: Final = "workbench.cost_usd"

SERVER_DURATION: Final = "mcp.server.operation.duration"
CLIENT_DURATION: Final = "mcp.client.operation.duration"
TOOL_DURATION: Final = "gen_ai.execute_tool.duration"
AGENT_DURATION: Final = "gen_ai.invoke_agent.duration"
CHAT_DURATION: Final = "gen_ai.client.operation.duration"
TOKENS: Final = "gen_ai.client.token.usage"

CALL: Final = "tools/call"
EXECUTE: Final = "execute_tool"
INVOKE: Final = "invoke_agent"
CHAT: Final = "chat"
POLICY: Final = "policy"

SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Bucket borders of durations that the GenAI conventions advise."""
