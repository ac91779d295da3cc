"""The board: one server that stores, follows and streams the events of runs, and serves the page that shows them.

It knows runs by their events alone (`mlgym_jax.events`): nothing here imports jax, and nothing that trains imports it.

    python -m board_server [--event_storage=DIR] [--host=127.0.0.1] [--port=8080]
"""
