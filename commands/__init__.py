"""What the Makefile's targets do with a Prefect server, where it takes more than a line.

One module each for `make deploy`, `make worker` and `make run`. They ask nothing and write no
profile; where the server is, PREFECT_API_URL says, which the Makefile sets from PORT. Nothing that
a flow needs belongs here: runs are started from the UI, too.
"""
