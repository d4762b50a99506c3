"""Runs model-written Python, which is taken to be hostile. `pool.open_sandbox` is the way in.

The fork server imports this package before it confines itself, so nothing is imported here.
"""
