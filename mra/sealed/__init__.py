"""Sealed files: how a site that never comes online delivers its rows, and how the answer comes back.

    mra outbox export --sealed FILE        rows --> batches --> sealed file             (export.py)
    mra saas import FILE                   sealed file --> verified whole --> streams   (delivery.py)
    mra saas import FILE --ack ANSWER      checkpoints as stored --> signed answer      (acknowledgement.py)
    mra outbox settle ANSWER               answer --> verified --> settled              (acknowledgement.py)

A file is the uplink's work on another carrier. It holds the rows that waited when it was made, cut into the batches
that the uplink would send, and it is published with the uplink's own protocol: atomic batches, each with its
checkpoint, by compare-and-swap against the checkpoint before. So it does not matter which way a row goes, nor how
often:

  * a file imported twice, or by two people at once, stores nothing twice: what the newest checkpoint covers is skipped;
  * a site that comes online finds a checkpoint that is ahead of its marks and made of its own rows, and settles;
  * a file whose first rows were meanwhile delivered over the link gives the rest;
  * a file that comes before its predecessor is refused, and the sentence names the rows that are missing.

Skipping needs proof, too: a copied state directory numbers other rows alike. Rows that are skipped must be the ones
that the SaaS holds: by the digest of the newest checkpoint when its rows are in the file, row by row by their ids in
the stream otherwise.

Modules, pure ones first:

    keys.py             the SaaS's pair of key pairs: one opens files, the other signs answers
    contents.py         header, batches and end of a file; what each may hold
    chunks.py           authenticated encryption of a stream in chunks
    writing.py          a sealed file, from rows
    reading.py          rows, from a sealed file: verified whole before the first is used
    position.py         a file's part of a lane against the SaaS's checkpoint: where to begin, or why not
    export.py           the outbox's side
    delivery.py         the SaaS's side
    proof.py            that rows which are skipped are those in the stream
    acknowledgement.py  the answer: signed there, settled here

Format, version 1 (numbers are big endian):

    magic     7 bytes "MRASEAL", 1 byte version
    length    4 bytes, of the header
    header    JSON, in the clear: file id, agent, customer, when, both public keys of the exchange, signer, and per
              lane: epoch, first_seq, through_seq, rows and checkpoint known before
    chunks    64 KiB of the body each, the last one shorter, each with a tag of 16 bytes
    body      records: 4 bytes length, MessagePack; batches of rows, then one end with counts and signature

Keys: X25519 between a key of this file alone and the SaaS's, HKDF-SHA256 with both public keys as salt, one key per
file. Chunks: ChaCha20-Poly1305 in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar: "Online
Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015): the nonce is the chunk's number and whether it
is the last, the associated data is the SHA-256 of everything before the chunks. So a chunk that is changed, missing,
repeated, moved, or comes from another file does not verify, nor does a changed word of the header.

The signature, by the key of the agent's enrolment where it has one, is Ed25519 over the digest of header and batches,
inside the encryption; the header names the reader, so a file cannot be sealed anew for somebody else in the signer's
name.

Threats:
    who finds a file       sees agent, customer, lanes and numbers of rows, never their contents; can keep or lose it
    who changes one        is noticed before anything is published, at every byte
    who makes one up       needs the sealing key's public half only, so a file is taken from a known signer, or unsigned
                           when the operator says so (`--unsigned`); it can never write outside the lanes of one agent
                           of one customer, nor carry headers or subjects that a site could not have accepted
    who replays a file     changes nothing
    who forges an answer   needs the SaaS's signing key, whose public half is in the site's settings
    who replays an answer  is refused: it names a file, and each file is answered once; a rewind, an adoption and a new
                           installation forget the files before them
    who copies a site      is told apart by the ids of its rows, and refused

Rows in a file are kept from every policy for `outbox.export_hold` (7 days of uptime), counted from the lane's oldest
file that was not answered, so that exporting again does not extend it: a courier who never arrives costs space for a
week, not for ever. Beyond that a row may be shed here and be stored by a file that comes late; it is then counted as
shed, stands in the streams once, and the lane goes on (`mra.outbox.exports`). An import that broke off is to be run
again: a site that shed rows of the file stands still, fenced, as long as the SaaS ends in the middle of it.
"""
