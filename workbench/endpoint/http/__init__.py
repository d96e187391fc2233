"""The HTTP under the endpoints: requests and their checks, responses, event streams, JSON-RPC messages."""
