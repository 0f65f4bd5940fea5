"""The vendor's side: preparing the streams, and proving from them that nothing is missing.

    streams.py   what the streams must be like; create them, check them
    chain.py     rows of a stream -> what is complete, missing, stored twice, out of order   (pure)
    verify.py    reads the streams with ordinary credentials and feeds the chain

Nothing here knows an agent's database: what `verify` says rests on the streams alone.
"""
