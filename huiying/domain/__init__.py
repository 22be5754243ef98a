"""The pure core: standard library only, aware instants only, ``now`` always passed in."""
