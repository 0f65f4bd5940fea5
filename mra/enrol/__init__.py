"""Enrolment, the node's side, and the protocol that both sides speak.

A node starts with a `provisioning.jwt` and ends with an identity, credentials at the SaaS and a configuration. It makes
its keys itself, and they never leave it. `mra.provisioner` is the other side.

    node                                   nats-server                            provisioner
     |-- CONNECT: token, key, sig(nonce) ------>|-- auth callout: who is this? -------->|
     |                                          |<- only `mra.enrol.KEY`, `_INBOX.KEY.>`|
     |-- challenge ---------------------------- mra.enrol.KEY ------------------------->|
     |<------------------------------------------------------------------------- nonce -|
     |-- token, statement, signatures of all keys that it names ----------------------->| verifies; asks the helper;
     |<----------------------------------------- answer: signed, sealed for this node --| keeps the decision

Every connection is made with a fresh key, which the server has it prove; subjects carry that key. So an unprovisioned
node can reach the provisioner and nobody else, and hears what it is told itself and nothing else.

What each part is believed for:

- The token (Ed25519, Choria's claims) says which customer and role, and within which limits. It is a bearer token, so
  it enrols new identities only: an identity belongs to the first key that enrolled it.
- The statement is signed by the identity key and the NATS user key, over the provisioner's nonce, the connection, the
  token's id and all public keys. It cannot be replayed elsewhere, nor be made without the seeds. A changed identity key
  is accepted together with a signature by the one before.
- What the answer says of a node's site is for two more keys, which the statement names without proof: it is of use to
  their owner alone. The node derives them from its user key, so that they cannot get lost by themselves.
- The answer is signed by the SaaS's issuer: the key pinned in the token's extension `issuer`, or else the very key that
  signed the token. It is sealed for a key that lives as long as the exchange, and names request and connection.
- An enrolled node renews with its `server.jwt` and its key, expired or not: after a year offline that is its proof.

Every request has an id that is on disk before it is sent, and the provisioner keeps its answer: whoever is killed at
whatever step, the same question gets the same answer. On the node one file, replaced whole, says "enrolled"
(`enrolment`); the keys are made before it, and what else stands in the directory is a copy.

    names, shapes, messages    pure: names; what the four messages look like; making and reading them
    sealing                    pure: boxes
    settings, keys, enrolment  the node's files
    offers                     which tokens the node can show
    exchange                   one attempt
    service                    attempts until enrolled, and renewal long before the end
    report                     how it stands, for people

A node never changes its customer: its outbox holds records of the one it has. A provisioning token of another customer
is refused until the node is reset.

Secrets (seeds, tokens) are in no fact, log line, event, sentence or `repr`.
"""
