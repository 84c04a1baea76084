"""IPv4 addresses and networks."""

import ipaddress

from envs.worlds.authoring import WorldTool, within
from envs.worlds.draws import address, block, choice, encoded, whole
from envs.worlds.kinds import Address, Bits, Block, Code, Verdict, Whole

_PORTS = {
    20: "ftp-data", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp", 53: "dns", 67: "dhcp", 69: "tftp", 80: "http",
    110: "pop3", 119: "nntp", 123: "ntp", 143: "imap", 161: "snmp", 179: "bgp", 389: "ldap", 443: "https", 445: "smb",
    465: "smtps", 514: "syslog", 587: "submission", 636: "ldaps", 873: "rsync", 993: "imaps", 995: "pop3s",
    1433: "mssql", 1521: "oracle", 1883: "mqtt", 2049: "nfs", 2181: "zookeeper", 3306: "mysql", 3389: "rdp",
    5060: "sip", 5432: "postgresql", 5672: "amqp", 5900: "vnc", 6379: "redis", 6443: "kubernetes", 8080: "http-alt",
    9092: "kafka", 9200: "elasticsearch", 11211: "memcached", 27017: "mongodb", 6667: "irc", 5353: "mdns",
    88: "kerberos", 194: "irc-server", 853: "dns-over-tls",
}  # fmt: skip


def _net(text: str) -> ipaddress.IPv4Network:
    return ipaddress.IPv4Network(text, strict=False)


def network_address(block: Block) -> Address:
    """The first address of a network, its base address."""
    return str(_net(block).network_address)


def broadcast_address(block: Block) -> Address:
    """The last address of a network, which reaches all hosts."""
    return str(_net(block).broadcast_address)


def first_host(block: Block) -> Address:
    """The lowest usable host address of a network."""
    return str(_net(block)[1])


def last_host(block: Block) -> Address:
    """The highest usable host address of a network."""
    return str(_net(block)[-2])


def usable_hosts(block: Block) -> Whole:
    """Count the usable host addresses of a network."""
    return max(_net(block).num_addresses - 2, 0)


def subnet_mask(block: Block) -> Address:
    """The subnet mask of a network in dotted form."""
    return str(_net(block).netmask)


def wildcard_mask(block: Block) -> Address:
    """The wildcard mask of a network, the inverted subnet mask."""
    return str(_net(block).hostmask)


def prefix_length(mask: str) -> Whole:
    """The prefix length of a dotted subnet mask."""
    return ipaddress.IPv4Network(f"0.0.0.0/{mask}").prefixlen


def enclosing_network(ip: Address, prefix: int) -> Block:
    """The network of a prefix length that contains an address."""
    return str(_net(f"{ip}/{prefix}"))


def is_in_network(ip: Address, block: Block) -> Verdict:
    """Check whether an address belongs to a network."""
    return "yes" if ipaddress.IPv4Address(ip) in _net(block) else "no"


def same_network(first: Address, second: Address, prefix: int) -> Verdict:
    """Check whether two addresses share a network of a prefix length."""
    return "yes" if _net(f"{first}/{prefix}") == _net(f"{second}/{prefix}") else "no"


def is_private_address(ip: Address) -> Verdict:
    """Check whether an address is private, not routed on the internet."""
    return "yes" if ipaddress.IPv4Address(ip).is_private else "no"


def next_address(ip: Address) -> Address:
    """The address that follows an IP address."""
    return str(ipaddress.IPv4Address(ip) + 1)


def previous_address(ip: Address) -> Address:
    """The address that precedes an IP address."""
    return str(ipaddress.IPv4Address(ip) - 1)


def address_to_number(ip: Address) -> Whole:
    """Write an IP address as one whole number."""
    return int(ipaddress.IPv4Address(ip))


def number_to_address(number: Whole) -> Address:
    """Write a whole number as a dotted IP address."""
    within(number, 0, 2**32 - 1, "number")
    return str(ipaddress.IPv4Address(number))


def address_to_hex(ip: Address) -> Code:
    """Write an IP address in hexadecimal digits."""
    return ipaddress.IPv4Address(ip).packed.hex()


def address_to_bits(ip: Address) -> Bits:
    """Write an IP address as thirty-two binary digits."""
    return f"{int(ipaddress.IPv4Address(ip)):032b}"


def reverse_pointer(ip: Address) -> Code:
    """The reverse DNS name of an IP address."""
    return ipaddress.IPv4Address(ip).reverse_pointer


def address_class(ip: Address) -> Code:
    """The historical class, A to E, of an IP address."""
    first = ipaddress.IPv4Address(ip).packed[0]
    return f"class {'ABCDE'[(first >= 128) + (first >= 192) + (first >= 224) + (first >= 240)]}"


def ipv4_mapped_ipv6(ip: Address) -> Code:
    """The IPv6 form of an IPv4 address, IPv4-mapped."""
    packed = ipaddress.IPv4Address(ip).packed.hex()
    return str(ipaddress.IPv6Address(f"::ffff:{packed[:4]}:{packed[4:]}"))


def halve_network(block: Block) -> Block:
    """Split a network in two and give the upper half."""
    return str(list(_net(block).subnets())[1])


def parent_network(block: Block) -> Block:
    """The network twice as large that contains a network."""
    return str(_net(block).supernet())


def count_subnets(block: Block, prefix: int) -> Whole:
    """Count the smaller subnets of a prefix length inside a network."""
    within(prefix, _net(block).prefixlen, 32, "prefix")
    return 1 << (prefix - _net(block).prefixlen)


def service_of_port(port: Whole) -> Code:
    """The name of the service on a well-known TCP or UDP port."""
    if port not in _PORTS:
        raise ValueError(f"no well-known service on port {port}")
    return _PORTS[port]


def vendor_prefix(mac: str) -> Code:
    """The manufacturer part of a MAC hardware address."""
    parts = mac.split(":")
    if len(parts) != 6 or not all(len(part) == 2 for part in parts):
        raise ValueError("give a MAC address such as 00:1b:63:84:45:e6")
    return "-".join(parts[:3]).upper()


def _mac(number: int) -> str:
    return ":".join(f"{number >> shift & 255:02x}" for shift in range(40, -1, -8))


def _mask(text: str) -> str:
    return str(_net(text).netmask)


_BLOCK = block()

TOOLS = (
    WorldTool(
        function=network_address,
        draw={"block": lambda r: f"{address()(r)}/{r.randint(8, 30)}"},
        needs=(
            "the [network address] of {block}",
            "the [base address of the network] {block}",
            "the [first address in the block] {block}",
        ),
        unseen=(
            "the [address on which a network starts], for {block}",
            "which [IP identifies the network itself] in {block}",
        ),
    ),
    WorldTool(
        function=broadcast_address,
        draw={"block": _BLOCK},
        needs=(
            "the [broadcast address] of {block}",
            "the [address reaching all hosts] in {block}",
            "the [last address of the network] {block}",
        ),
        unseen=(
            "which [IP broadcasts to everyone] on {block}",
            "the [final address, for broadcasts,] of {block}",
        ),
    ),
    WorldTool(
        function=first_host,
        draw={"block": _BLOCK},
        needs=(
            "the [first usable host] in {block}",
            "the [lowest host address] of {block}",
            "the [first assignable address] within {block}",
        ),
        unseen=(
            "which [IP may be given to the first machine] on {block}",
            "the [smallest host IP] of {block}",
        ),
    ),
    WorldTool(
        function=last_host,
        draw={"block": _BLOCK},
        needs=(
            "the [last usable host] in {block}",
            "the [highest host address] of {block}",
            "the [last assignable address] within {block}",
        ),
        unseen=(
            "which [IP may be given to the last machine] on {block}",
            "the [largest host IP] of {block}",
        ),
    ),
    WorldTool(
        function=usable_hosts,
        draw={"block": _BLOCK},
        needs=(
            "the [number of usable hosts] in {block}",
            "how [many hosts fit into the network] {block}",
            "count the [host addresses] of {block}",
        ),
        unseen=(
            "how [many machines can have host addresses] in {block}",
            "the [host capacity of a network] like {block}",
        ),
    ),
    WorldTool(
        function=subnet_mask,
        draw={"block": _BLOCK},
        needs=(
            "the [subnet mask] of {block}",
            "the [netmask in dotted form] for {block}",
            "which [mask belongs to the network] {block}",
        ),
        unseen=(
            "the [dotted mask of a prefix] as in {block}",
            "the [255-style network mask] for {block}",
        ),
    ),
    WorldTool(
        function=wildcard_mask,
        draw={"block": _BLOCK},
        needs=(
            "the [wildcard mask] of {block}",
            "the [inverted subnet mask] for {block}",
            "the [host mask] belonging to {block}",
        ),
        unseen=(
            "the [inverse mask for an access list] on {block}",
            "the [complement of the netmask] of {block}",
        ),
    ),
    WorldTool(
        function=prefix_length,
        draw={
            "mask": choice(
                *(_mask(f"0.0.0.0/{n}") for n in range(1, 32)),
                *(str(ipaddress.IPv4Address(2**n - 1)) for n in range(1, 32)),
            )
        },
        needs=(
            "the [prefix length] of {mask}",
            "how [long the prefix of a mask is], for {mask}",
            "convert {mask} [from a netmask to a prefix length]",
        ),
        unseen=(
            "the [prefix bits of a dotted mask] like {mask}",
            "how [long the network prefix is] under {mask}",
        ),
    ),
    WorldTool(
        function=enclosing_network,
        draw={"ip": address(), "prefix": whole(8, 30)},
        needs=(
            "the [network that contains the address] {ip} with prefix {prefix}",
            "which [network an address belongs to], {ip} at prefix length {prefix}",
            "the [enclosing network] of {ip} for prefix {prefix}",
        ),
        unseen=(
            "the [network around an address by prefix length], {ip}, prefix {prefix}",
            "which [subnet an IP lies in], {ip} with /n and n = {prefix}",
        ),
    ),
    WorldTool(
        function=is_in_network,
        draw={
            "ip": lambda r: f"10.{r.randint(0, 3)}.{r.randint(0, 255)}.{r.randint(1, 254)}",
            "block": lambda r: f"10.{r.randint(0, 3)}.0.0/{r.choice((15, 16, 17, 18))}",
        },
        needs=(
            "whether {ip} [belongs to the network] {block}",
            "whether {ip} [is an address inside the network] {block}",
            "check {ip} [for membership in a network], {block}",
        ),
        unseen=(
            "whether [a network includes an address], {ip} in {block}",
            "whether {ip} [is one of the network's addresses] for {block}",
        ),
    ),
    WorldTool(
        function=same_network,
        draw={
            "first": lambda r: f"10.4.{r.randint(0, 31)}.{r.randint(1, 254)}",
            "second": lambda r: f"10.4.{r.randint(0, 31)}.{r.randint(1, 254)}",
            "prefix": choice(18, 19, 20, 21),
        },
        needs=(
            "whether {first} and {second} [share a network] of prefix {prefix}",
            "whether {first} and {second} [are in the same subnet] with prefix {prefix}",
            "check {first} and {second} [for being addresses of one network] at prefix {prefix}",
        ),
        unseen=(
            "whether [two IPs sit on one network], {first} and {second}, prefix {prefix}",
            "whether {first} [is a network neighbour of] {second} under prefix {prefix}",
        ),
    ),
    WorldTool(
        function=is_private_address,
        draw={
            "ip": lambda r: (
                f"{r.choice(('10.7', '192.168', '172.20', '172.40', '193.168', '11.8', '81.20', '10.66'))}"
                f".{r.randint(0, 255)}.{r.randint(1, 254)}"
            )
        },
        needs=(
            "whether {ip} [is a private address]",
            "whether {ip} [is not routed on the internet]",
            "check {ip} [for being private]",
        ),
        unseen=(
            "whether {ip} [is reserved for local networks]",
            "whether {ip} [is a private rather than public IP]",
        ),
    ),
    WorldTool(
        function=next_address,
        draw={"ip": address()},
        needs=(
            "the [next IP address] after {ip}",
            "the [address that follows] {ip}",
            "which [IP comes right after] {ip}",
        ),
        unseen=(
            "the [successor of an IP address], {ip}",
            "the [IP one higher] than {ip}",
        ),
    ),
    WorldTool(
        function=previous_address,
        draw={"ip": address()},
        needs=(
            "the [previous IP address] before {ip}",
            "the [address that precedes] {ip}",
            "which [IP comes right before] {ip}",
        ),
        unseen=(
            "the [predecessor of an IP address], {ip}",
            "the [IP one lower] than {ip}",
        ),
    ),
    WorldTool(
        function=address_to_number,
        draw={"ip": address()},
        needs=(
            "the [IP address as a number] for {ip}",
            "convert {ip} [from an IP address to a whole number]",
            "the [integer behind the IP address] {ip}",
        ),
        unseen=(
            "turn {ip} [from an IP address into one integer]",
            "the [numeric value of an IP] such as {ip}",
        ),
    ),
    WorldTool(
        function=number_to_address,
        draw={"number": whole(2**24, 2**32 - 1)},
        needs=(
            "the [IP address for the number] {number}",
            "convert {number} [to a dotted IP address]",
            "the [dotted address of an integer], {number}",
        ),
        unseen=(
            "turn {number} [from an integer into a dotted quad]",
            "which [IP has the numeric value] {number}",
        ),
    ),
    WorldTool(
        function=address_to_hex,
        draw={"ip": address()},
        needs=(
            "the [hexadecimal form of the IP address] {ip}",
            "write the [IP in hex digits] for {ip}",
            "convert {ip} [to a hex address]",
        ),
        unseen=(
            "the [IP address in base sixteen] for {ip}",
            "turn {ip} [from a dotted quad into hex]",
        ),
    ),
    WorldTool(
        function=address_to_bits,
        draw={"ip": address()},
        needs=(
            "the [binary form of the IP address] {ip}",
            "write the [IP as binary digits] for {ip}",
            "convert {ip} [from an IP address to binary digits]",
        ),
        unseen=(
            "the [IP address in ones and zeros] for {ip}",
            "turn {ip} [from an IP address into bits]",
        ),
    ),
    WorldTool(
        function=reverse_pointer,
        draw={"ip": address()},
        needs=(
            "the [reverse DNS name] of {ip}",
            "the [in-addr.arpa pointer] for {ip}",
            "the [name for a reverse lookup] of {ip}",
        ),
        unseen=(
            "the [PTR record name] of {ip}",
            "which [domain a backward DNS query goes to], for {ip}",
        ),
    ),
    WorldTool(
        function=address_class,
        draw={"ip": address()},
        needs=(
            "the [class of the IP address] {ip}",
            "which [address class, A to E,] {ip} is in",
            "the [historical IP class] of {ip}",
        ),
        unseen=(
            "whether it is a [class A, B or C address], {ip}",
            "the [classful category of an IP], {ip}",
        ),
    ),
    WorldTool(
        function=ipv4_mapped_ipv6,
        draw={"ip": address()},
        needs=(
            "the [IPv6 form] of {ip}",
            "the [IPv4-mapped IPv6 address] for {ip}",
            "write {ip} [as an IPv6 address]",
        ),
        unseen=(
            "how {ip} [is embedded in version six]",
            "the [IPv6 mapping of an IPv4 address] for {ip}",
        ),
    ),
    WorldTool(
        function=halve_network,
        draw={"block": block(8, 29)},
        needs=(
            "the [upper half of the network] {block}",
            "[split a network in two] and take the upper part of {block}",
            "the [second half after halving a network], {block}",
        ),
        unseen=(
            "cut {block} [into two subnets and keep the higher one]",
            "the [second of the two equal subnets] in {block}",
        ),
    ),
    WorldTool(
        function=parent_network,
        draw={"block": block(9, 30)},
        needs=(
            "the [parent network] of {block}",
            "the [network twice as large] around {block}",
            "the [supernet] of {block}",
        ),
        unseen=(
            "which [larger network one bit shorter] contains {block}",
            "widen {block} [to the next bigger network]",
        ),
    ),
    WorldTool(
        function=count_subnets,
        draw={"block": block(8, 18), "prefix": whole(19, 28)},
        needs=(
            "the [number of subnets] with prefix {prefix} in {block}",
            "how [many smaller subnets] of prefix {prefix} fit into {block}",
            "count the [subnets inside a network], prefix {prefix} within {block}",
        ),
        unseen=(
            "how [many subnetworks a network can be cut into], {block} at prefix {prefix}",
            "the [subnet count] for {block} when each has prefix {prefix}",
        ),
    ),
    WorldTool(
        function=service_of_port,
        draw={"port": choice(*_PORTS)},
        needs=(
            "the [service on the port] {port}",
            "which [service listens on a well-known port], {port}",
            "the [name of the port] numbered {port}",
        ),
        unseen=(
            "which [protocol uses a TCP port], {port}",
            "what [network service] runs at port {port}",
        ),
    ),
    WorldTool(
        function=vendor_prefix,
        draw={"mac": encoded(_mac, whole(2**24, 2**48 - 1))},
        needs=(
            "the [manufacturer part of the MAC address] {mac}",
            "the [vendor prefix of a hardware address], {mac}",
            "the [MAC vendor prefix] in {mac}",
        ),
        unseen=(
            "the [manufacturer code of a hardware address], {mac}",
            "which [maker code a MAC address carries], {mac}",
        ),
    ),
)
