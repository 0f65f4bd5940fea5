"""Keys and signed tokens. Pure: no file, no network, no clock; whoever calls brings time and randomness.

Two families meet in the agent, both with Ed25519 signatures and differing in everything around them:

             keys as text                          tokens                           who reads them
    NATS     nkeys (`nkey`): A.., U.., S..         header alg `ed25519-nkey`        nats-server, its tools
    Choria   64 hex digits (`ed25519`)             header alg `EdDSA`               `choria jwt`, provisioners

`compact` takes the text of a token apart for both. What comes from outside is hostile until its signature is checked:
every reader raises one `Refused` sentence for anything it cannot use, whatever the bytes, and no sentence, `repr` or
exception holds a seed or a whole token.

Invariants: a token has one text only (base64url without padding, no stray bits), so a denied token cannot return in
other clothes; the algorithm is the reader's choice, never the token's; times are whole seconds since 1970.
"""
