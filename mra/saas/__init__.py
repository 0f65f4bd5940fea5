"""The vendor's side: preparing the streams, saying what agents shall do, and proving that nothing is missing.

    streams.py   what the streams must be like; create them, check them
    chain.py     rows of a stream -> what is complete, missing, stored twice, out of order   (pure)
    verify.py    reads the streams with ordinary credentials and feeds the chain
    config.py    desired state: a key and the index that names it, written together
    governors.py how many machines may do something at once, and who does

Nothing here knows an agent's database: what `verify` says rests on the streams alone.
"""
