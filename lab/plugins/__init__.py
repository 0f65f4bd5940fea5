"""The vendor's artifact server: archives of machines over HTTPS, and the authority that vouches for it.

`authority.py` makes the certificates, `server.py` serves a directory with them on one machine, `httpd.conf` does the
same in containers, `greeter/` is a machine to publish, and `signer.seed` signs the specifications of the lab.
"""
