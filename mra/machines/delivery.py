"""The compiled-in machine that keeps a site's plugins as the vendor's signed specification says.

Machine Room's agents carry the same one (section 1.8 of the reference). Two of its words are our own: `mode: watch`
lets a specification that arrives be acted upon at once, where Choria polls; and `machine_manage_interval`, which no
watcher of Choria's reads, is left away, so that archives are looked at every two minutes here as there.
"""

from __future__ import annotations

from typing import Final

from mra.machines.compiled import CompiledMachine

NAME: Final = "machines_manager"
MANIFEST: Final = f"""\
name: {NAME}
version: 0.0.2
initial_state: INITIAL
transitions:
  - {{name: to_manage, from: [INITIAL], destination: MANAGE}}
  - {{name: enter_maintenance, from: [MANAGE], destination: MAINTENANCE}}
  - {{name: resume, from: [MAINTENANCE], destination: MANAGE}}
watchers:
  - name: initial_specification
    type: kv
    interval: 30s
    state_match: [INITIAL]
    success_transition: to_manage
    properties: {{bucket: CONFIG, key: machines, bucket_prefix: false, on_successful_get: true, mode: watch}}
  - name: specification
    type: kv
    interval: 30s
    state_match: [MANAGE]
    properties: {{bucket: CONFIG, key: machines, bucket_prefix: false, mode: watch}}
  - name: manage_machines
    type: plugins
    interval: 30s
    state_match: [MANAGE]
    properties: {{data_item: machines, purge_unknown: true, manager_machine_prefix: mm}}
"""

MACHINES_MANAGER: Final = CompiledMachine(NAME, MANIFEST)
