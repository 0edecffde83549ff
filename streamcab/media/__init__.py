"""Call audio that telephony platforms send over WebSocket and TCP.

    server, tcp      sockets, TLS, the opening of a connection
    admission        who may send: tokens, signatures, networks; decided before any audio is read
    session          one connection: its budget of messages and of audio
    twilio, ...      one serializer per protocol: bytes in, events out
    calls            the calls of all connections: reconnects, stalls, ends
    tracks           audio into rings, many calls at a time

Serializers know nothing of sockets, clocks or calls. Knows nothing of lines or of the daemon: `source/media.py` does.
"""
