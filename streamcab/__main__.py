"""`python -m streamcab` is `streamcab`."""

from streamcab.cli import main

main()
