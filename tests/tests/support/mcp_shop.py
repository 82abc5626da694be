"""An MCP server by the official Python SDK: one tool that reads, one that honours a key, one that does neither.

Usage: mcp_shop.py PORT LOG. Each line of LOG is what one call did.
"""

import json
import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import ToolAnnotations

PORT, LOG = int(sys.argv[1]), sys.argv[2]
server = MCPServer("shop", log_level="WARNING")


def did(tool: str, of: str, ctx: Context) -> None:
    meta = dict(ctx.request_context.meta or {})
    headers = {name.lower(): value for name, value in dict(ctx.headers or {}).items()}
    line = {
        "tool": tool,
        "of": of,
        "key": meta.get("windlass/idempotency-key", ""),
        "header": headers.get("idempotency-key", ""),
        "trace": headers.get("traceparent", ""),
    }
    with open(LOG, "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look(of: str, ctx: Context) -> str:
    """Looks something up."""
    did("look", of, ctx)
    return f"{of} is there"


@server.tool(annotations=ToolAnnotations(read_only_hint=False, idempotent_hint=True))
def pay(of: str, ctx: Context) -> str:
    """Pays once per key."""
    did("pay", of, ctx)
    return f"{of} is paid"


@server.tool(annotations=ToolAnnotations(read_only_hint=False, destructive_hint=True))
def ship(of: str, ctx: Context) -> str:
    """Ships a parcel each time."""
    did("ship", of, ctx)
    return f"{of} is shipped"


server.run("streamable-http", host="127.0.0.1", port=PORT)
