"""`bench selfcheck`: everything that a machine with a GPU is to be tried and measured with.

One call goes through its parts unattended, each within its share of the time, and files what came
out beside the records. A part that fails or overruns costs the others nothing; a second call goes
on where the first one stopped.
"""
