"""Measuring: how many calls this machine carries (`bench calls`), and what damage to the calls does to
answers (`bench loss`). Nothing in streamcab imports this but the command line.
"""
