"""Desired state: what the SaaS wants of this agent, kept here so that a restart without network still has its orders.

    KV bucket CONFIG, keys <customer>.<key>          the SaaS: `mra.saas.config` writes
        |  direct get: <customer>.index, then keys       \
        |  live feed: machine_room.config.<key>           > bucket.py
        v                                                /
    mirror.py  --plan (index.py)-->  one transaction (store.py)  -->  `Mirror.get`, `Mirror.wait_changed`

Events are a queue and each counts; desired state is a value and only the newest counts. So nothing is replayed: the
*index* (key `index`, a JSON object of key -> revision) says what there is, and what differs is read anew. It is written
in one atomic batch with each value, and never speaks of a value that is not stored.

    index.py   keys, the index, how one index follows another, what to read and drop    (pure)
    store.py   the copy in SQLite: units that run inside the outbox's transactions
    bucket.py  the seam `Bucket`, and the real one on a NATS session
    mirror.py  task: follow the bucket; service: read the copy, wait for changes
    buckets.py the copy as machines ask for it: by bucket and key

Invariants
  * Values, removals and the index they follow from are stored in one transaction.
  * No index is no order: a missing, garbled or unreadable index changes nothing. An index without keys removes all.
  * Before the first index nothing is known, and `get` says so instead of calling a key absent: who waits for orders
    must not take an empty copy for the order to remove everything.
  * A value newer than the index is kept: the index will follow. Live messages only bring news forward; whatever they
    say, or fail to say, the next reading of the index puts the copy right.
  * An index that went back belongs to a new bucket (it was written later) or to a restored one (it is still there at
    the next reading); a replica that lags shows neither.
"""
