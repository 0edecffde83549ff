"""`listen --workers`: the daemon in several processes, which are one daemon to the outside.

    base.py        several daemons as one: one feed, one status, one end; shards are such daemons too
    pool.py        the processes: started, watched, started again, ended
    process.py     one of them, as the pool sees it: its orders, its reports, its end
    last_words.py  the newest messages of a worker, in memory that outlives it
    farewell.py    what ends the calls of a worker that died
    local_feed.py  the feed of a worker, which leaves them there
    names.py       names of streams that are unique across processes
    merge.py       the statuses of workers -> one
    entries.py     what the workers tell of their calls, numbered anew, for the store and the sinks

`cli/worker.py` is the program of such a process. The kernel shares out the calls (rtp/reuseport.py), and libzmq the
messages (feed/proxy.py). Nothing here sees audio.
"""
