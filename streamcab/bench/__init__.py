"""Measuring, from outside: how many calls this machine carries (`bench calls`), and what damage to them does to answers
(`bench loss`). What serves users imports nothing of it.
"""
