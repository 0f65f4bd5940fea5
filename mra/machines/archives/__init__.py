"""Archives: from an address over HTTPS to a directory that is whole, checked, and swapped in.

    Source -> download -> archive file -> extract -> staged tree -> swap -> live tree
              (resumes)   (SHA-256)       (members)   (sums, check)  (trial)    |
                                                                     confirm or roll back

`deploy` walks that line for one `Deployment`; `flaw` says whether there is anything to do. All work happens in
`<target>/tmp/mra-<creates>`, on the file system of the target, so that a rename is all it takes; loaders ignore `tmp`.

Pure: source, sums (the text), limits, patience. Blocking: members, extract, tree, swap, pack. Trio: download.

Invariants
- Nothing from an archive is read before its size and digest were checked.
- Only regular files and directories below the staged tree come into being, within `Limits`, with no special mode bits.
- At every instant the live tree is the old or the new one, whole, or the old one stands aside and `recover` puts it
  back. A new tree replaces the old one for good only when `deploy` returns.
- `machine_data.json` is the node's, not the archive's: it moves along with the place.
- Failure and cancellation leave nothing behind, with one exception: an interrupted download keeps what it has, so that
  the next attempt goes on from there.
"""
