"""`listen --ray`: shards of one daemon on the machines of a Ray cluster, each with its own RTP ports.

    pool.py       the shards as one daemon: started, heard, said to be lost, started again
    remote.py     one shard as the pool sees it: calls that are answered later, or never
    allocator.py  which shard the next call should go to
    api.py        the same over HTTP, for media servers

`cli/shard.py` is what runs in each actor: a pool of workers (streamcab/workers). Ray only places actors, and replaces
those that die; messages go over ZeroMQ (feed/relay.py), and audio straight to the shard.
"""
