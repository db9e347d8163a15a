#!/usr/bin/env python3
"""Django Channels' two layers, by scripts and sorted sets and by pub/sub: `channels_layers.py PORT`.

Each promise has two layers, as two processes of a site would. Prints `ok - NAME` or `not ok - NAME: why` per promise.
"""

import asyncio
import sys
from pathlib import Path

import redis.asyncio
from channels.exceptions import ChannelFull
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness.promises import kept, name_of  # noqa: E402

URL = f"redis://127.0.0.1:{sys.argv[1]}/0"
WAIT_MAX_S = 30
NOTHING_S = 0.5


def message(number: int) -> dict:
    return {"type": "test.message", "number": number, "text": "x" * 100, "bytes": b"\x00\xff"}


def layers(kind, **more) -> list:
    return [kind(hosts=[URL], **more) for _ in range(2)]


async def heard(layer, channel: str, count: int = 1) -> list[int]:
    """The numbers of the next messages."""
    return [(await asyncio.wait_for(layer.receive(channel), WAIT_MAX_S))["number"] for _ in range(count)]


async def silent(layer, channel: str) -> bool:
    try:
        await asyncio.wait_for(layer.receive(channel), NOTHING_S)
    except TimeoutError:
        return True
    return False


async def messages_pass_in_order(kind) -> None:
    sender, receiver = layers(kind, capacity=1000)
    channel = await receiver.new_channel()
    [await sender.send(channel, message(number)) for number in range(300)]
    assert await heard(receiver, channel, 300) == list(range(300))
    assert (await asyncio.gather(receiver.receive(channel), sender.send(channel, message(7))))[0] == message(7)


async def a_group_hears_each_message_once(kind) -> None:
    one, two = layers(kind)
    members = [(layer, await layer.new_channel()) for layer in (one, two) for _ in range(5)]
    stranger = await two.new_channel()
    for layer, channel in members:
        await layer.group_add("room", channel)
        await layer.group_add("room", channel)
    [await one.group_send("room", message(number)) for number in range(20)]
    for layer, channel in members:
        assert await heard(layer, channel, 20) == list(range(20))
    assert await silent(two, stranger)
    for layer, channel in members[:3]:
        await layer.group_discard("room", channel)
    await two.group_send("room", message(20))
    for layer, channel in members[3:]:
        assert await heard(layer, channel) == [20]
    assert await silent(*members[0]) and await silent(*members[-1])


async def a_receiver_that_gives_up_loses_nothing(kind) -> None:
    sender, receiver = layers(kind)
    channel = await receiver.new_channel()
    for number in range(10):
        waits = asyncio.ensure_future(receiver.receive(channel))
        await asyncio.sleep(0.02)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        await sender.send(channel, message(number))
        assert await heard(receiver, channel) == [number]


async def many_speak_at_once(kind) -> None:
    one, two = layers(kind, capacity=1000)
    members = [(layer, await layer.new_channel()) for layer in (one, two) for _ in range(4)]
    [await layer.group_add("crowd", channel) for layer, channel in members]
    await asyncio.gather(*(layer.group_send("crowd", message(number)) for number, layer in enumerate([one, two] * 50)))
    for layer, channel in members:
        assert sorted(await heard(layer, channel, 100)) == list(range(100))


async def messages_that_are_too_old_are_gone(kind) -> None:
    sender, receiver = layers(kind, expiry=1)
    channel = await receiver.new_channel()
    await sender.send(channel, message(1))
    await asyncio.sleep(2)
    await sender.send(channel, message(2))
    assert await heard(receiver, channel) == [2]


async def members_that_are_too_old_are_gone(kind) -> None:
    sender, receiver = layers(kind, group_expiry=1)
    channel = await receiver.new_channel()
    await receiver.group_add("brief", channel)
    await asyncio.sleep(2)
    await sender.group_send("brief", message(1))
    assert await silent(receiver, channel)
    await receiver.group_add("brief", channel)
    await sender.group_send("brief", message(2))
    assert await heard(receiver, channel) == [2]


async def a_full_channel_is_told(kind) -> None:
    sender, receiver = layers(kind, capacity=3)
    channel = await receiver.new_channel()
    await receiver.group_add("full", channel)
    [await sender.send(channel, message(number)) for number in range(3)]
    try:
        await sender.send(channel, message(3))
    except ChannelFull:
        pass
    else:
        raise AssertionError("a full channel took a message")
    await sender.group_send("full", message(4))
    assert await heard(receiver, channel, 3) == [0, 1, 2] and await silent(receiver, channel)


async def what_is_flushed_is_gone(kind) -> None:
    sender, receiver = layers(kind)
    channel = await receiver.new_channel()
    await receiver.group_add("room", channel)
    await sender.send(channel, message(1))
    await sender.flush()
    await sender.group_send("room", message(2))
    assert await silent(receiver, channel)


async def a_lost_connection_comes_back(kind) -> None:
    sender, receiver = layers(kind)
    channel = await receiver.new_channel()
    await receiver.group_add("room", channel)
    connection = redis.asyncio.Redis.from_url(URL)
    assert await connection.client_kill_filter(_type="pubsub") >= 1
    await connection.aclose()
    for number in range(WAIT_MAX_S * 2):
        await sender.group_send("room", message(number))
        if not await silent(receiver, channel):
            return
    raise AssertionError("nothing was heard again")


BOTH = [messages_pass_in_order, a_group_hears_each_message_once, many_speak_at_once]
PROMISES = {
    RedisChannelLayer: [
        *BOTH, a_receiver_that_gives_up_loses_nothing, messages_that_are_too_old_are_gone, members_that_are_too_old_are_gone, a_full_channel_is_told,
        what_is_flushed_is_gone,
    ],
    RedisPubSubChannelLayer: [*BOTH, a_lost_connection_comes_back],
}


def run(promise, kind) -> None:
    async def on_an_empty_server() -> None:
        connection = redis.asyncio.Redis.from_url(URL)
        await connection.flushall()
        await connection.aclose()
        await promise(kind)

    asyncio.run(on_an_empty_server())


def main() -> int:
    tried = [kept(f"{kind.__name__}: {name_of(promise)}", run, promise, kind) for kind, promises in PROMISES.items() for promise in promises]
    return 0 if all(tried) else 1


if __name__ == "__main__":
    sys.exit(main())
