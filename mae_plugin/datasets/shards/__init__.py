"""Images inside tar files, at any place of them.

webdataset streams a shard from its start, so that a run cannot go on at any sample; its ``wids``
reads at random, but only shards for which an index file was written beforehand. torchdata's
stateful loader goes on exactly only with the same number of workers and processes. Hence an index
of our own.
"""
