"""What the chaotic clients and the chaotic service agree on: requests carry an id and a plan, and
every byte of a body tells whose it is and where it stands."""

import random
import socket
import struct

UNIT_BYTES = 9


def pattern(number, size, offset=0):
    """size bytes of the body that belongs to this id, from offset on."""
    unit = b"%08x|" % number
    start = offset % UNIT_BYTES
    return (unit * ((start + size) // UNIT_BYTES + 1))[start:start + size]


class Body:
    """Compares a body with its pattern as it comes."""

    def __init__(self, number):
        self.number, self.size = number, 0

    def take(self, data):
        fits = data == pattern(self.number, len(data), self.size)
        self.size += len(data)
        return fits


def cut_up(rng, data, pieces=6):
    """data in random pieces."""
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(pieces))) if data else []
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)]) if b > a]


def chunked(rng, data, is_ended=True):
    """data in the chunked coding, with everything that the coding allows."""
    out = b""
    for piece in cut_up(rng, data):
        extension = rng.choice([b"", b"", b";a=b", b';q="x"'])
        size = (b"%X" if rng.random() < 0.5 else b"%x") % len(piece)
        out += size + extension + b"\r\n" + piece + b"\r\n"
    if is_ended:
        out += b"0\r\n" + rng.choice([b"", b"", b"X-Trailer: t\r\n"]) + b"\r\n"
    return out


def parse_fields(lines):
    """Field values by lower-case name."""
    fields = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
    return fields


def reset(writer):
    """Ends a connection with a reset."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
    writer.transport.abort()


def noise(rng, most=300):
    return bytes(rng.randrange(256) for _ in range(rng.randrange(1, most)))


def rng_of(*parts):
    return random.Random("/".join(map(str, parts)))
