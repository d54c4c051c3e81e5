"""The network interface through which the other machines of a training reach this one.

gloo listens at the address of the machine's own name. On many systems that is 127.0.0.1 or
127.0.1.1, which no other machine can reach, so gloo is given an interface.
"""

import ipaddress
import os
import socket
import struct
import sys
from collections.abc import Sequence

VARIABLE = "GLOO_SOCKET_IFNAME"
"""The environment variable in which gloo looks for the name of an interface."""
_ANY_PORT = 9
_ADDRESS_OF_INTERFACE = 0x8915
"""SIOCGIFADDR of Linux."""


def own_address(other: str) -> str:
    """This machine's address on the route to ``other``, a name or an address; empty if there is
    none. Sends nothing."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(other, _ANY_PORT, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def chosen_interface(addresses: Sequence[str], rank: int) -> str:
    """The name of the interface for the process ``rank``, from the ``own_address`` of each process.

    Empty if gloo should choose by itself: the user has named an interface, all processes are on one
    machine, or no interface has that address.
    """
    if os.environ.get(VARIABLE) or len(set(addresses)) == 1:
        return ""
    address = addresses[rank]
    if _stays_here(address):  # process 0 may know itself by its own name
        address = next((own_address(one) for one in addresses if not _stays_here(one)), "")
    return _interface_with(address)


def _stays_here(address: str) -> bool:
    return not address or ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _interface_with(address: str) -> str:
    """The name of the interface that has this IPv4 address, on Linux."""
    if sys.platform != "linux" or _stays_here(address):
        return ""
    from fcntl import ioctl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                told = ioctl(probe, _ADDRESS_OF_INTERFACE, struct.pack("256s", name.encode()))
            except OSError:  # it has no IPv4 address
                continue
            if socket.inet_ntoa(told[20:24]) == address:
                return name
    return ""
