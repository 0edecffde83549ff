"""Subscribers that serve operators: metrics, status, doctor, lines of JSON, MQTT. See docs/how-to/operations.md.

Each runs in a process of its own and takes nothing of the daemon but its feed.
"""
