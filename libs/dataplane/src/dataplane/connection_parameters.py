"""Where a database is, and how to log in to it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ConnectionParameters:
    """Where a database is, and how to log in to it.

    `generation` grows when the tenant's state or login changes, not when its server moves.
    `connection_limit` is how many connections this process may open as this role; `server_id` names
    the server whose budget they count against, and `server_limit` is this process's share of that
    budget; 0 when only its own counts.
    """

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    generation: int
    connection_limit: int
    server_id: str
    server_limit: int = 0
