"""The relay: what the processes of a deployment tell each other through Redis, without losing any of it.

relay        what is said and what it means: publications, positions, asking for what was missed
peers        the other processes, their streams and whether they live
publication  what a process publishes, as others read it
streams      positions of one publisher on one channel, pure
link         the connections: publishing together, subscribing to what is wanted, connecting anew
seal         what a process of this deployment said, and what somebody else wrote into Redis
client       one Redis, Sentinel or a cluster by the same few calls
slot         the node of a cluster that has everything of ours
"""
