"""A study's config as plain data: the words to write it, its fields and their checks, files and overrides.

Nothing here knows what is registered: names of components are resolved in `components`.
"""
