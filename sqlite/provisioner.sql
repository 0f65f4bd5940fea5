-- What the provisioning service has decided (`provisioner.db` in the SaaS's directory). Times are seconds since 1970.

-- Tokens that were made here, and any token that was revoked. A token that is not here counts all the same: what it
-- allows stands in it, under the issuer's signature.
CREATE TABLE token (
  id        TEXT PRIMARY KEY,          -- `jti`
  customer  TEXT NOT NULL DEFAULT '',
  role      TEXT NOT NULL DEFAULT '',
  max_nodes INTEGER NOT NULL DEFAULT 0,  -- 0 for any number
  created   INTEGER,
  expires   INTEGER,
  revoked   INTEGER                    -- when; NULL while it counts
) STRICT;

-- Which identities each token has enrolled. Stays when a node is forgotten: the token does not become new.
-- `account` is the customer here and below: names of customers can be used again, ids of accounts cannot.
CREATE TABLE token_use (
  token_id TEXT NOT NULL,
  account  TEXT NOT NULL,
  identity TEXT NOT NULL,
  first    INTEGER NOT NULL,
  PRIMARY KEY (token_id, account, identity)
) STRICT, WITHOUT ROWID;

-- One enrolled node. Its identity belongs to the key that enrolled it first.
CREATE TABLE node (
  account     TEXT NOT NULL,
  identity    TEXT NOT NULL,
  customer    TEXT NOT NULL,           -- what people called the account
  name        TEXT NOT NULL,           -- in subjects
  role        TEXT NOT NULL,
  public_key  TEXT NOT NULL,           -- ed25519, hex
  public_nkey TEXT NOT NULL,
  token_id    TEXT NOT NULL,
  request     TEXT NOT NULL,           -- the newest request: asked again, its answer is `answer`
  answer      TEXT NOT NULL,           -- the grant, as JSON
  enrolled    INTEGER NOT NULL,
  renewed     INTEGER NOT NULL,
  expires     INTEGER NOT NULL,
  PRIMARY KEY (account, identity),
  UNIQUE (account, name)
) STRICT, WITHOUT ROWID;

-- Nodes that the operator had forgotten: server tokens from before do not bring them back. A node that is neither here
-- nor above, as after the loss of this file, is believed on the word of its server token.
CREATE TABLE forgotten (
  account  TEXT NOT NULL,
  identity TEXT NOT NULL,
  at       INTEGER NOT NULL,
  PRIMARY KEY (account, identity)
) STRICT, WITHOUT ROWID;

-- Nodes whose last attempt ended in neither a grant nor a refusal, and when they may be looked at again.
CREATE TABLE waiting (
  account    TEXT NOT NULL,
  identity   TEXT NOT NULL,
  failures   INTEGER NOT NULL,
  not_before REAL NOT NULL,
  reason     TEXT NOT NULL,
  PRIMARY KEY (account, identity)
) STRICT, WITHOUT ROWID;

-- Secrets of the service itself, made once: `nonce` authenticates challenges.
CREATE TABLE secret (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
