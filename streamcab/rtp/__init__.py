"""RTP intake: thousands of calls on a few UDP ports, whole batches of datagrams at a time.

    plug.py      an address, its socket and buffer      ports.py     the sockets of all addresses, in pairs
    receive.py   sockets -> Batch                       batch.py     datagrams in rows
    packet.py    Batch -> Headers
    table.py     who is calling: keys, slots            payload.py   what a payload type means here
    timeline.py  timestamps -> positions                loss.py      sequence numbers: duplicates, loss
    codec.py     payload bytes -> samples               placing.py   payloads of a batch -> rings
    bank.py      rings written out of order             reorder.py   payloads that wait for a decoder
    decoder.py   G.722 and Opus, threads of their own   rtcp.py      BYE and names
    sdp.py       payload types in words                 names.py     what a call is called
    watch.py     which calls have stalled               allow.py     which addresses may call
    playout.py   placed samples -> the reader, in time  intake.py    all of it together: the life of calls

`streamcab.source.rtp` puts them behind the `Source` protocol. Nothing here knows of models, intervals or the
feed.
"""
