"""The provisioning service: decides which nodes belong to the SaaS, and as whom. The protocol is in `mra.enrol`.

    admission     the auth callout: who may open a connection, and to what; nonces          (pure)
    minting       provisioning tokens
    entitlement   what a provisioning or server token is good for                           (pure)
    ledger        decisions, uses of tokens, pauses of failing nodes, in `provisioner.db`
    records       what the operator does to the ledger: tokens, nodes to forget
    helper, rules the SaaS's own word: a program (JSON in, JSON out), or the embedded one that reads a TOML file
    authority     keys of the SaaS, and the grant that they make of a decision
    site          what the grant of a site's node says of its site, by the authority that the SaaS keeps for it
    decision      one request from proof to answer
    service       the tasks
    opening       the service of one SaaS directory

Invariants:
- Nobody is enrolled without a token that the SaaS's issuer signed, proof of the keys that it is known by, and a helper
  that said so.
- What was granted is in the ledger before it is sent. The same request gets the same grant, from any worker, after any
  restart; two requests for one identity are decided one after the other, and the ledger checks again as it commits.
- The first key of an identity owns it, until the operator has the node forgotten (`mra saas node forget`). Should the
  ledger be lost or restored from an old copy, nodes that it does not know come back with their server tokens.
- No message of a node, and nothing that a helper does, ends the service or a worker. A node that fails is looked at
  again after a pause that doubles up to ten minutes.
- Answers go to the inbox of the connection that asked, which the server vouches for, whatever reply subject is named.
"""
