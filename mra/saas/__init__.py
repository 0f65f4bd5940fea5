"""The vendor's side: a SaaS for many customers on a stock nats-server, and proof that nothing of theirs is missing.

A SaaS is a directory. What is decided stands in its files first, and the server is then told; whoever is killed in
between repeats the command, and `mra saas customer push` tells everything again.

    directory.py      the files: keys, credentials, what the SaaS is
    setup.py          makes them, as often as wanted and without replacing a key
    server_config.py  the server's configuration: a generated part, and one that is the operator's               (pure)
    accounts.py       what each account may do, and the only ways from a customer's into BACKEND                  (pure)
    registry.py       the customers: who they are, what they may use, whom they were denied; tokens of their nodes
    claims_api.py     makes a running server follow

    streams.py        what the streams must be like; create them, check them
    config.py         desired state: a key and the index that names it, written together
    governors.py      how many machines may do something at once, and who does
    usage.py          how much of the shared streams each customer fills
    nodes.py, feed.py what nodes last told of themselves, and events as they are stored
    chain.py          rows of a stream -> what is complete, missing, stored twice, out of order                   (pure)
    verify.py         reads the streams with ordinary credentials and feeds the chain

Customers are kept apart by the server, not by good manners: each has an account without JetStream, whose imports carry
its own public key where the subjects of BACKEND have the customer's id, and the server compares the two. Within a
customer a scoped signing key gives every node the same permissions and an inbox of its own.

Nothing here knows an agent's database: what `verify` says rests on the streams alone.
"""
