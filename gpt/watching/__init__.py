"""Everything that observes a run: the console, the recording in its folder, loggers, trackers, the profiler.

Each is a watcher. A logger is a watcher that a configuration chooses, by conf/logger/*.yaml; a tracker is a logger that
passes a run's rows on to a library.
"""
