"""The only code that imports Ray: what runs on a cluster, or on one machine as if it were one."""
