"""gunicorn settings for an Engine.IO server:  gunicorn -c deploy/gunicorn/gunicorn.conf.py app:app

What the command line says wins: -k gevent, -k gthread, -b, --keep-alive and so on.
"""

from importlib.util import find_spec

from gunicorn.workers import SUPPORTED_WORKERS

# gunicorn 26 dropped its eventlet worker and 25.3 warns about it: this is ours, under the old name.
SUPPORTED_WORKERS["eventlet"] = "engineio.gunicorn.EventletWorker"

if find_spec("eventlet"):
    worker_class = "eventlet"
elif find_spec("gevent") and find_spec("packaging"):  # gunicorn's gevent worker needs both
    worker_class = "gevent"
else:
    worker_class = "gthread"

# Engine.IO sessions live in one process.
workers = 1

# gthread only: each WebSocket and each waiting poll holds a thread, so this is more than the
# number of clients.
threads = 100

# eventlet and gevent: a client holds one connection, and one more while it polls and posts.
# The process needs as many file descriptors (ulimit -n).
worker_connections = 10000

# Seconds.  A polling client answers a ping every 25: keep the connection it does that on.
keepalive = 30

# Seconds.  At a stop or reload Engine.IO tells its clients, which takes about one; other requests
# may take this long.
graceful_timeout = 10

# To stdout.  A WebSocket has one line, when it ends; each poll has one.  %(L)s: how long it took.
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(L)s s'
