"""streamcab: which accent is on this line, now?"""

__version__ = "0.1.0"
