"""RTP intake: thousands of calls on a few UDP ports, whole batches of datagrams at a time.

    receive.py  sockets -> Batch             packet.py  Batch -> Headers        codec.py  payload bytes -> samples
    table.py    who is calling: keys, slots  intake.py  positions, loss, life   bank.py   rings written out of order
    rtcp.py     BYE and names                sdp.py     payload type maps       decoder.py  G.722 and Opus, own threads
    names.py    what a call is called        allow.py   which addresses may call

`streamcab.source.rtp` puts them behind the `Source` protocol. Nothing here knows of models, intervals or the feed.
"""
