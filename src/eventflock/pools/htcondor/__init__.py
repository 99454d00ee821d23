"""Running jobs on an HTCondor pool: submit, follow, fetch. Only `schedd` calls the bindings."""
