"""What every driver in Python does: reads one JSON line {action, ...options} at a time, runs that action with the client, and
writes what came of it as one JSON line: {"result"} or {"error"}."""

import asyncio
import base64
import json
import os
import sys
import urllib.request

# Standard output belongs to the protocol, whatever a client prints.
PROTOCOL = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def describe(error: BaseException) -> dict:
    facts = {name: getattr(error, name, None) for name in ("type", "code", "param")}
    return {"kinds": [kind.__name__ for kind in type(error).__mro__], "status": getattr(error, "status_code", None),
            "message": str(error), **facts}


async def answer(actions: dict, action: str, options: dict) -> dict:
    try:
        return {"result": await actions[action](**options)}
    except Exception as error:  # whatever the client raises is what the tests ask about
        return {"error": describe(error)}


def serve(actions: dict) -> None:
    async def run():
        while line := await asyncio.to_thread(sys.stdin.readline):
            options = json.loads(line)
            reply = await answer(actions, options.pop("action"), options)
            PROTOCOL.write(json.dumps(reply, default=str) + "\n")
            PROTOCOL.flush()

    asyncio.run(run())


def abortable(start) -> dict:
    """The actions begin and abort: a call that goes on while the tests look at the server, and its end."""
    tasks = []

    async def begin(**options):
        tasks.append(asyncio.ensure_future(start(**options)))

    async def abort():
        task = tasks.pop()
        task.cancel()
        try:
            await task
            return "answered"
        except asyncio.CancelledError:
            return "CancelledError"

    return {"begin": begin, "abort": abort}


def download(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return base64.b64encode(reply.read()).decode()
