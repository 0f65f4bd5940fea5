"""Watchers: one module for each type, on a common base.

How a watcher lives
- It is made when its machine is loaded, and `run` runs from the machine's start to its end, **through all states**: its
  ticker keeps its rhythm, and what it remembers survives a change of state, as existing manifests expect. That is why
  a state is not simply a nursery in which watchers are started and cancelled.
- It works only while it is active, that is, while the machine's state and all required foreign states fit. Otherwise
  its ticks are skipped.
- What it does *in* a state is bound to that state: an evaluation runs inside a cancel scope that ends when the machine
  enters a state in which the watcher does not work. Processes, connections and temporary files go with it.
- A change of state wakes it, by a signal of one slot. A change of a foreign machine does not; it is noticed later.

To add a type: derive from `PollingWatcher` (or from `Watcher`, where a ticker does not fit), declare its properties,
and hand the class to `registry.registry`:

    class LevelProperties(Properties):
        sensor: str = decode.text(required=True)

    class LevelWatcher(PollingWatcher[LevelProperties]):
        kind = "level"
        schema = LevelProperties
        interval_rule = IntervalRule(default="10s", minimum="1s")

        async def evaluate(self) -> Outcome:
            return self.success("full") if await read(self.properties.sensor) > 90 else Outcome("filling")

        def report(self) -> Mapping[str, Any]:
            return {"previous_outcome": self.outcome}
"""
