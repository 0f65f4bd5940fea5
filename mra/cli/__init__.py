"""The command line: parse, call, print, exit code. Nothing here decides anything.

main.py     the `mra` group, errors into exit codes
options.py  options that many commands share
show.py     tables, JSON, colour, progress
run.py      mra run
status.py   mra status
submit.py   mra submit
outbox.py   mra outbox ...
saas.py     mra saas ...
"""
