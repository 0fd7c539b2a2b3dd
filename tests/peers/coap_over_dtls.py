"""aiocoap over its tinydtls socket, as a client or as a server.

    coap_over_dtls.py get IDENTITY KEY URI [ACCEPT]     prints the code and the payload in hexadecimal
    coap_over_dtls.py post IDENTITY KEY URI FORMAT HEX  the same
    coap_over_dtls.py observe IDENTITY KEY URI COUNT    prints so many states, one a line
    coap_over_dtls.py serve IDENTITY KEY PORT           prints `ready`, answers on /greeting and /big until its input ends
"""

import asyncio
import sys

import aiocoap
from aiocoap import resource


class Fixed(resource.Resource):
    def __init__(self, payload):
        super().__init__()
        self.payload = payload

    async def render_get(self, request):
        return aiocoap.Message(payload=self.payload)


def show(response):
    print(f"{response.code.dotted} {response.payload.hex()}", flush=True)


async def client(identity, key, uri):
    context = await aiocoap.Context.create_client_context(transports=["tinydtls"])
    credential = {"dtls": {"psk": {"ascii": key}, "client-identity": {"ascii": identity}}}
    context.client_credentials.load_from_dict({uri: credential})
    return context


async def ask(identity, key, uri, **message):
    context = await client(identity, key, uri)
    show(await context.request(aiocoap.Message(uri=uri, **message)).response)
    await context.shutdown()


async def observe(identity, key, uri, count):
    context = await client(identity, key, uri)
    request = context.request(aiocoap.Message(code=aiocoap.GET, uri=uri, accept=50, observe=0))
    show(await request.response)
    async for state in request.observation:
        show(state)
        count -= 1
        if count == 1:
            break
    await context.shutdown()


async def serve(identity, key, port):
    site = resource.Site()
    site.add_resource(["greeting"], Fixed(b"greetings from aiocoap"))
    site.add_resource(["big"], Fixed(bytes(n * n // 11 & 255 for n in range(5000))))
    # It takes the port of plain CoAP and serves on the next.
    context = await aiocoap.Context.create_server_context(
        site, bind=("127.0.0.1", port - 1), transports=["tinydtls_server"]
    )
    credential = {"dtls": {"psk": {"ascii": key}, "client-identity": {"ascii": identity}}}
    context.server_credentials.load_from_dict({":gateway": credential})
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await context.shutdown()


def main(role, identity, key, where, *rest):
    if role == "get":
        accept = int(rest[0]) if rest else None
        return ask(identity, key, where, code=aiocoap.GET, accept=accept)
    if role == "post":
        payload = bytes.fromhex(rest[1])
        return ask(identity, key, where, code=aiocoap.POST, content_format=int(rest[0]), payload=payload)
    if role == "observe":
        return observe(identity, key, where, int(rest[0]))
    return serve(identity, key, int(where))


asyncio.run(main(*sys.argv[1:]))
