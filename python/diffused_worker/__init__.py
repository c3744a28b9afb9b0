"""Runs a Diffusers pipeline in a process of its own for `diffused`, step by step at the engine's word.

The server starts this program as a child and speaks to it over one socket (protocol.py). It loads one model folder
(folder.py), says what the pipeline's call takes (signature.py), and then makes pictures: each is a row (row.py), a call of the
pipeline in a thread of its own that waits after every step until the server lets it go on. Never more than one thread
computes. docs/decisions/0024 says why this part is in Python.
"""

PROTOCOL = 1  # both sides name it first; they work together only when it is equal
