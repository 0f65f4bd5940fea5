"""The asyncio pocket: the only package that knows asyncio, trio-asyncio, nats-py and aiosqlite.

    loop.py        an asyncio loop inside a Trio block, and calls into it
    database.py    SQLite in Trio's voice: whole transactions, shielded from cancellation
    addresses.py   names into addresses, in Trio: asyncio loses a cancellation that comes meanwhile
    connection.py  making and ending one connection of nats-py
    messages.py    one message, and the place where answers to it arrive
    session.py     one NATS connection in Trio's voice: it never reconnects, and dies with its first fault

Nothing asyncio-flavoured leaves: no futures, no foreign exceptions, no callbacks. The database and the NATS session
each get a loop of their own, because trio-asyncio ends a whole loop when one background task of it raises, and a bug
in a network client must not take the storage down.
"""
