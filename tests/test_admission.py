"""How many clients may come, and how fast: by values."""

from typing import Any

import pytest

from engineio.admission import MAX_ADDRESSES, Admission
from engineio.driver import load
from engineio.request import Reject, client_address, own_origins
from engineio.settings import Settings


def settings(**options: Any) -> Settings:
    made = Settings()
    for name, value in options.items():
        setattr(made, name, value)
    return made


def admission() -> Admission:
    return Admission(load("threading").lock())


def refused(answer: str | Reject) -> tuple[int, str] | None:
    return (answer.status, answer.log_key) if isinstance(answer, Reject) else None


def test_nothing_is_limited_by_default() -> None:
    door = admission()
    for _ in range(100):
        assert door.admit(Settings(), "10.0.0.1", 0.0) == ""


def test_clients_in_total() -> None:
    door = admission()
    options = settings(max_clients=2)
    first = door.admit(options, "10.0.0.1", 0.0)
    assert not refused(first)
    assert not refused(door.admit(options, "", 0.0))
    assert refused(door.admit(options, "10.0.0.2", 0.0)) == (503, "max_clients")
    assert isinstance(first, str)
    door.leave(first)
    assert not refused(door.admit(options, "10.0.0.2", 0.0))


def test_clients_of_an_address() -> None:
    door = admission()
    options = settings(max_clients_per_address=2)
    groups = [door.admit(options, "10.0.0.1", 0.0) for _ in range(2)]
    assert refused(door.admit(options, "10.0.0.1", 0.0)) == (429, "max_clients_per_address")
    assert not refused(door.admit(options, "10.0.0.2", 0.0))
    for group in groups:
        assert isinstance(group, str)
        door.leave(group)
        assert not refused(door.admit(options, "10.0.0.1", 0.0))


def test_who_is_refused_takes_no_place() -> None:
    door = admission()
    options = settings(max_clients=2, max_clients_per_address=1)
    assert not refused(door.admit(options, "10.0.0.1", 0.0))
    for _ in range(5):
        assert refused(door.admit(options, "10.0.0.1", 0.0))
    assert not refused(door.admit(options, "10.0.0.2", 0.0))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("what:ever", "what:ever", True),
        ("", "", False),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    door = admission()
    options = settings(max_clients_per_address=1)
    assert not refused(door.admit(options, one, 0.0))
    assert bool(refused(door.admit(options, other, 0.0))) is same


def test_handshakes_per_second() -> None:
    door = admission()
    options = settings(max_handshakes_per_address=3)

    def burst(address: str, now: float) -> int:
        return sum(not refused(door.admit(options, address, now)) for _ in range(10))

    assert burst("10.0.0.1", 0.0) == 3
    assert burst("10.0.0.1", 0.0) == 0
    assert burst("10.0.0.2", 0.0) == 3
    assert burst("10.0.0.1", 0.5) == 1
    assert burst("10.0.0.1", 100.0) == 3
    assert refused(door.admit(options, "10.0.0.1", 100.0)) == (429, "max_handshakes_per_address")


def test_a_rate_below_one_lets_one_come_at_a_time() -> None:
    door = admission()
    options = settings(max_handshakes_per_address=0.1)
    assert not refused(door.admit(options, "10.0.0.1", 0.0))
    assert refused(door.admit(options, "10.0.0.1", 9.0))
    assert not refused(door.admit(options, "10.0.0.1", 10.5))


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    door = admission()
    options = settings(max_handshakes_per_address=1)
    for number in range(MAX_ADDRESSES + 100):
        door.leave(
            str(door.admit(options, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0))
        )
    assert len(door._allowances) == MAX_ADDRESSES
    assert refused(
        door.admit(options, f"10.0.{(MAX_ADDRESSES + 99) >> 8}.{(MAX_ADDRESSES + 99) & 255}", 0)
    )


FORWARDED = "198.51.100.7, 203.0.113.9, 10.0.0.2"


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "address"),
    [
        (None, "10.0.0.1", FORWARDED, "10.0.0.1"),
        ([], "10.0.0.1", FORWARDED, "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", FORWARDED, "203.0.113.9"),
        ("10.0.0.1", "10.0.0.1", FORWARDED, "10.0.0.2"),
        (["10.0.0.0/8"], "192.0.2.1", FORWARDED, "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", "", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "203.0.113.9, junk", "10.0.0.1"),
        (["10.0.0.0/8"], "10.0.0.1", "junk, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        (["10.0.0.0/8"], "", FORWARDED, ""),
        (["", "10.0.0.0/8"], "", FORWARDED, "203.0.113.9"),
    ],
)
def test_the_address_behind_proxies(proxies: Any, peer: str, forwarded: str, address: str) -> None:
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": forwarded}
    assert client_address(environ, settings(trusted_proxies=proxies)) == address


@pytest.mark.parametrize(
    ("proxies", "believed"),
    [(None, True), ([], False), (["10.0.0.1"], True), (["10.0.0.2"], False), ("10.0.0.0/8", True)],
)
def test_whose_forwarded_origin_counts(proxies: Any, believed: bool) -> None:
    environ = {
        "REMOTE_ADDR": "10.0.0.1",
        "HTTP_HOST": "inner",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_HOST": "example.com",
    }
    origins = own_origins(environ, settings(trusted_proxies=proxies).trusted_proxies)
    assert origins == ["http://inner", "https://example.com"][: 1 + believed]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_clients", -1),
        ("max_clients", 1.5),
        ("max_clients", True),
        ("max_clients_per_address", "1"),
        ("max_handshakes_per_address", 0),
        ("max_handshakes_per_address", float("nan")),
        ("max_handshakes_per_address", True),
        ("max_total_send_buffer", -1),
        ("trusted_proxies", ["nobody"]),
        ("trusted_proxies", ["10.0.0.1/8"]),
    ],
)
def test_values_that_cannot_work(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        settings(**{option: value})
