"""The fuzzers: see ``run.py`` for how to run one, ``target.py`` for what one is."""
