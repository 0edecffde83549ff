"""Measurements from outside: how many calls this machine carries (`bench calls`), and how damaged calls change answers
(`bench loss`). No serving code imports it.
"""
