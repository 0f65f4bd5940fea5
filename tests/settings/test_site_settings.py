"""The table `[site]`: what can be, and what cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mra.errors import BadInput
from mra.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from mra.settings import Settings

SAAS = '[saas]\nurls = ["nats://127.0.0.1:4222"]\n'
URLS = 'urls = ["tls://10.0.0.1:9222"]\n'


def read(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "agent.toml"
    file.write_text('[agent]\nname = "n1"\nstate = "state"\n' + text)
    return read_settings(file)


def test_without_the_table_a_node_stands_alone(tmp_path: Path) -> None:
    assert read(tmp_path, SAAS).site is None


def test_a_leader_says_where_its_bus_listens(tmp_path: Path) -> None:
    site = read(tmp_path, SAAS + '[site]\nrole = "leader"\nlisten = "[::]:9222"\nterm = 3\n').site
    assert site is not None
    assert (site.listen, site.term, site.directory) == (("::", 9222), 3, tmp_path / "state" / "site")


def test_a_follower_needs_no_way_to_the_saas_and_is_not_enrolled_there(tmp_path: Path) -> None:
    settings = read(tmp_path, f'[saas]\ncustomer = "acme"\n[site]\nrole = "follower"\n{URLS}keys = "keys"\n')
    assert settings.site is not None
    assert (settings.enrol, settings.customer, settings.site.directory) == (None, "acme", tmp_path / "keys")


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('role = "boss"', "site.role"),
        ('role = "leader"', "site.listen"),
        ('role = "leader"\nlisten = "9222"', "site.listen"),
        ('role = "leader"\nlisten = "host:0"', "site.listen"),
        ('role = "leader"\nlisten = "0.0.0.0:9222"\nrelay = "9223"', "site.relay"),
        ('role = "leader"\nlisten = "a\\"b:1"', "site.listen"),
        ('role = "leader"\nlisten = "0.0.0.0:9222"\nterm = 0', "site.term"),
        ('role = "follower"', "site.urls"),
        ('role = "follower"\nurls = ["nats://h:1"]', "site.urls"),
        ('role = "follower"\nurls = ["tls://h"]', "site.urls"),
        ('role = "follower"\nnonsense = 1', "nonsense"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, table: str, key: str) -> None:
    with pytest.raises(BadInput, match=key):
        read(tmp_path, f"{SAAS}[site]\n{table}\n")
