"""Writes countries.mmdb: documentation networks and made-up countries. Needs mmdb-writer from PyPI."""
import os
from netaddr import IPSet
from mmdb_writer import MMDBWriter

writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Headwater-Test-Country", description="for tests")
for network, code in [("192.0.2.0/24", "DE"), ("198.51.100.0/24", "JP"), ("2001:db8::/32", "BR"), ("203.0.113.0/24", "not a code")]:
    writer.insert_network(IPSet([network]), {"country": {"iso_code": code}})
writer.to_db_file(os.path.join(os.path.dirname(__file__), "countries.mmdb"))
