"""RTP intake: thousands of calls on a few UDP ports, whole batches of datagrams at a time.

    udp.py            an address, its socket and buffer     ports.py         the sockets of all addresses, in pairs
    receive.py        sockets -> Batch                      batch.py         datagrams in rows
    packet.py         Batch -> Headers                      payload.py       what a payload type means here
    table.py          who is calling: keys, slots           loss.py          sequence numbers: duplicates, loss
    timeline.py       timestamps -> positions               scatter.py       payloads of a batch -> rings
    codec.py          payload bytes -> samples              bank.py          rings written out of order
    decode_queue.py   payloads that wait for a decoder      decoder.py       G.722 and Opus, threads of their own
    jitter_buffer.py  placed samples -> the reader, late    rtcp.py          BYE and names
    stalls.py         which calls have stalled              names.py         what a call is called
    sdp.py            payload types in words                allow.py         which addresses may call
    cursor.py         one call's numbers and clock          leaps.py         packets kept until others follow them
    endings.py        when calls are over                   inspection.py    collisions, and what looks encrypted
    strangers.py      types that cannot be heard            rates.py         a call that changes its sampling rate
    events.py         what is told of calls                 lifecycle.py     the lifecycle of calls
    channels.py       one call for each channel          screening.py     which datagrams hold audio
    admission.py      which call a datagram belongs to   reuseport.py     sockets of several processes
    intake.py         all of it together: what a batch of datagrams does to the calls

`streamcab.source.rtp` puts them behind the `Source` protocol. Nothing here knows of models, intervals or the
feed.
"""
