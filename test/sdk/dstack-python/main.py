"""The published Python SDK, unmodified, against our sockets.

Every client and every method; answers are checked for what they mean, by
libraries that know nothing of this project. Reads DSTACK_SIMULATOR_ENDPOINT,
TAPPD_SIMULATOR_ENDPOINT and APP_CONTRACT_ADDR; the root keys of the KMS from
KMS_ROOT_K256 and KMS_CA_SPKI, or from the contract (ETH_RPC_URL,
KMS_CONTRACT_ADDR); asks the KMS too when KMS_URL is set.
"""

import asyncio
import contextlib
import sys
import tempfile
import warnings

from dstack_sdk import AsyncDstackClient, AsyncTappdClient, DstackClient, TappdClient

from checks import certificates, evidence, helpers, keys, system, tappd
from checks.system import CheckFailed, System, check, equal

# Long enough for a shared, busy machine; the SDK's own default is 3 s.
TIMEOUT = 30


class Awaited:
    """A synchronous client whose methods are awaited like the other's."""

    def __init__(self, client) -> None:
        self.client = client

    def __getattr__(self, name: str):
        async def call(*arguments, **options):
            return getattr(self.client, name)(*arguments, **options)

        return call


async def guest(client, raw, target: System) -> None:
    """All a DstackClient can ask."""
    await evidence.info(client, target)
    await evidence.quotes(client, raw, target)
    await evidence.events(client, target)
    await keys.derived(client, target)
    await keys.signing(client, target)
    await certificates.issued(client, target)
    await certificates.demo(client, target)
    await helpers.accounts(client)
    await helpers.legacy_accounts(client, target)


async def legacy(old, new, raw, target: System) -> None:
    """All a TappdClient can ask."""
    await tappd.info(old, new, target)
    await tappd.derived(old, new, target)
    await tappd.quotes(old, raw, target)
    await tappd.absent(old)


async def unreachable() -> None:
    """Nobody there: the SDK says so instead of answering."""
    with tempfile.NamedTemporaryFile(prefix="no-agent-") as file:
        reachable = await AsyncDstackClient(file.name).is_reachable()
        check(not reachable, "a file that is no socket is not reachable")
    try:
        DstackClient("/nonexistent/dstack.sock")
    except FileNotFoundError:
        return
    check(False, "a socket that does not exist is refused")


async def run() -> None:
    """Every check, with every kind of client."""
    target = system.load()
    await unreachable()
    found = []
    async with contextlib.AsyncExitStack() as stack:
        for mode in ({}, {"use_sync_http": True}):
            new = await stack.enter_async_context(
                AsyncDstackClient(timeout=TIMEOUT, **mode)
            )
            old = await stack.enter_async_context(
                AsyncTappdClient(timeout=TIMEOUT, **mode)
            )
            await guest(new, new._send_rpc_request, target)
            await legacy(old, new, old._send_rpc_request, target)
            found.append((await new.get_key("wallet")).key)
        # Every check above ran one call at a time; a real app does not.
        paths = [f"path {index}" for index in range(8)]
        in_turn = [await new.get_key(path) for path in paths]
        client = await stack.enter_async_context(AsyncDstackClient(timeout=TIMEOUT))
        at_once = await asyncio.gather(*(client.get_key(path) for path in paths))
        equal(at_once, in_turn, "keys asked at once, and in turn")

        new, old = DstackClient(timeout=TIMEOUT), TappdClient(timeout=TIMEOUT)
        # `with … as` would give the asynchronous client inside: the SDK's way.
        with new, old:
            raw = new.async_client._send_rpc_request
            await guest(Awaited(new), raw, target)
            raw = old.async_client._send_rpc_request
            await legacy(Awaited(old), Awaited(new), raw, target)
            found.append(new.get_key("wallet").key)
            await helpers.env_key_of_kms(Awaited(new), target)
            await helpers.compose_hashes(Awaited(new))
    equal(len(set(found)), 1, "keys of one path, asked by different clients")
    await helpers.environment()
    helpers.env_key_offline()


def main() -> int:
    """0 when everything means what it should."""
    # Deprecated methods are checked on purpose.
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        asyncio.run(run())
    except CheckFailed as failure:
        print(f"sdk check failed: {failure}", file=sys.stderr)
        return 1
    print("sdk ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
