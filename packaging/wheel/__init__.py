"""A server for Hugging Face Diffusers models. The program is bin/diffused; `python -m diffused` and the command `diffused` start it."""
