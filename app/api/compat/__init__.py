"""The addresses of the systems that Encore replaces: thin, off unless ENCORE_COMPAT names them (docs/adr/0028).

Each module has the routes of one system. They call the use cases of `app/api/v1`, without rules of their own.
"""
