"""What the scripts share: the two codecs of the protocol, and a connection that offers one of them."""

import json

import msgpack
import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory


class Json:
    """Text messages."""

    name = "json"

    @staticmethod
    def encode(value):
        # As other encoders write it: no spaces, no escapes that JSON does not ask for.
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

    @staticmethod
    def decode(message):
        assert isinstance(message, str), f"a binary message on a JSON connection: {message!r}"
        return json.loads(message)


class Msgpack:
    """Binary messages, of which the two data messages are arrays."""

    name = "msgpack"
    UPDATE = ("topic", "seq", "ts", "data")
    SNAPSHOT = ("topic", "epoch", "seq", "ts", "data")

    @staticmethod
    def encode(value):
        return msgpack.packb(value)

    @classmethod
    def decode(cls, message):
        assert isinstance(message, bytes), f"a text message on a MessagePack connection: {message!r}"
        value = msgpack.unpackb(message)
        if isinstance(value, dict):
            assert value["op"] not in ("update", "snapshot"), f"a data message that is a map: {value!r}"
            return value
        op, names = (("update", cls.UPDATE), ("snapshot", cls.SNAPSHOT))[value[0]]
        assert len(value) == 1 + len(names), f"a data message of {len(value)} parts: {value!r}"
        return {"op": op, **dict(zip(names, value[1:]))}


CODECS = {codec.name: codec for codec in (Json, Msgpack)}


def connect(url, codec, deflate=None):
    """A connection whose reader is never held back by the library. The offer of compression stays, as it is by default,
    unless `deflate` has the parameters of another one, or is False for none."""
    offer = {}
    if deflate is not None:
        offer["compression"] = None
    if isinstance(deflate, dict):
        offer["extensions"] = [ClientPerMessageDeflateFactory(**deflate)]
    return websockets.connect(
        url,
        **offer,
        subprotocols=[f"tickwire.v1.{codec.name}"],
        ping_interval=None,
        max_queue=None,
        max_size=None,
    )
