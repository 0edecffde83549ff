"""RTP intake: thousands of calls on a few UDP ports, whole batches of datagrams at a time.

    udp.py            an address, its socket and buffer     ports.py         the sockets of all addresses, in pairs
    receive.py        sockets -> Batch                      batch.py         datagrams in rows
    packet.py         Batch -> Headers                      payload.py       the meaning of payload types
    table.py          calls by key and slot                 loss.py          sequence numbers: duplicates, loss
    timeline.py       timestamps -> positions               scatter.py       payloads of a batch -> rings
    codec.py          payload bytes -> samples              bank.py          rings written out of order
    decode_queue.py   payloads that wait for a decoder      decoder.py       G.722 and Opus, in separate threads
    jitter_buffer.py  placed samples -> the reader, delayed    rtcp.py          BYE and names
    stalls.py         detection of stalled calls            names.py         names of calls
    sdp.py            payload types in words                allow.py         addresses that may call
    intake.py         the life of calls, using all of these

`streamcab.source.rtp` wraps them in the `Source` protocol. Nothing here knows of models, intervals or the
feed.
"""
